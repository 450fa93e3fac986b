"""Images a second of the interpreter and of the network that was trained on its labels, after `datasetddpm demo`.

Regime: the interpreter needs three passes of the diffusion model's UNet and ten members for each pixel, the network one
small forward pass. All ways label the same held-out images in turn. The exported network runs in onnxruntime, on the
processor, where that is installed.

    python tests/bench/bench_speed.py [--run runs/demo --images 20 --batch 20 --rounds 3]
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import measuring
import numpy as np

import deeplab
from generate import Denoiser
from label import DenoiserFeatures, Interpreter, load_annotations
from pipelines.units.devices import set_up

DEMO = Path(__file__).parents[2] / "pipelines" / "demo"
Predict = Callable[[np.ndarray], np.ndarray]


def _network(run: Path) -> Path:
    """The folder of the demo's own network, not of its baseline."""
    return run / "deeplab" / "mixed-seed0"


def ways_of(run: Path, device: str, size: tuple[int, int]) -> dict[str, Predict]:
    """What labels uint8 [b,h,w,3]: the run's interpreter, its network, and that network exported."""
    denoiser = Denoiser.from_pretrained(DEMO / "model", device=device)
    features = DenoiserFeatures.from_pretrained(run / "interpreter", denoiser)
    interpreter = Interpreter.from_pretrained(run / "interpreter", features, device=device)
    network = deeplab.load(_network(run), device)
    ways: dict[str, Predict] = {
        "interpreter": lambda images: interpreter.predict(images).masks,
        "network": lambda images: deeplab.predict(network, images),
    }
    if all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            deeplab.export_onnx(deeplab.load(_network(run)), path, size)
            ways["exported network, onnxruntime"] = deeplab.OnnxModel.open(path).predict
    return ways


def in_batches(predict: Predict, images: np.ndarray, batch: int) -> np.ndarray:
    return np.concatenate([predict(images[i : i + batch]) for i in range(0, len(images), batch)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="the output of `datasetddpm demo`")
    parser.add_argument("--images", type=int, default=20, help="held-out images, of 120")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default=measuring.default_device())
    options = parser.parse_args()
    set_up(options.device)
    held_out = load_annotations(DEMO / "held_out", size=(64, 64))
    images, truth = held_out.images[: options.images], held_out.masks[: options.images]
    predicts = ways_of(options.run, options.device, (64, 64))
    for predict in predicts.values():
        predict(images[: options.batch])  # the first call of a network is slower than the rest
    ways = {name: partial(in_batches, predict, images, options.batch) for name, predict in predicts.items()}
    timed = measuring.alternate(ways, options.rounds, options.device)
    slowest = timed["interpreter"]
    rows, figures = [["", "images a second", "ms an image", "CPU ms an image", "times faster", "mIoU on these"]], {}
    for name, way in timed.items():
        rate, faster = len(images) / way.best, slowest.best / way.best
        quality = deeplab.mean_iou(way.result, truth, classes=len(held_out.scheme), ignore_index=255)
        milliseconds = [f"{1000 * seconds / len(images):.2f}" for seconds in (way.best, way.best_cpu)]
        rows.append([name, f"{rate:.1f}", *milliseconds, f"{faster:.0f}", f"{quality:.3f}"])
        figures[name] = {"images_a_second": rate, "times_faster": faster, "miou": quality}
    measuring.show(f"{measuring.hardware(options.device)}; {len(images)} images of 64x64", rows)
    measuring.finish("speed", options.device, {**vars(options), "run": str(options.run)}, figures)


if __name__ == "__main__":
    main()

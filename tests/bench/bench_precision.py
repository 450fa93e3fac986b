"""What half precision changes: the labels of the same images by the same weights, on the shipped domain.

Regime: quality, not speed; demanded is that 99.5 % of the pixels keep the label that float32 gives them. On a processor
without a unit for it half precision is emulated and slow, with the same results but for the order of sums.

    python tests/bench/bench_precision.py [--images 20]
"""

import argparse
from pathlib import Path

import measuring
import torch

from deeplab import mean_iou
from generate import Denoiser
from label import FITTINGS, DenoiserFeatures, Interpreter, load_annotations
from pipelines.units.devices import set_up

DEMO = Path(__file__).parents[2] / "pipelines" / "demo"
BLOCKS = [3, 4, 5, 6, 7]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20, help="held-out images, of 120")
    parser.add_argument("--device", default=measuring.default_device())
    options = parser.parse_args()
    set_up(options.device)
    few, others = (load_annotations(DEMO / name, size=(64, 64)) for name in ("annotated", "held_out"))
    images, truth = others.images[: options.images], others.masks[: options.images]
    features = features_in(torch.float32, options.device)
    fitted = Interpreter.fit(features, few.images, few.masks, classes=few.scheme, settings=FITTINGS["fast"])
    rows, found = [("denoiser", "classifiers", "pixels labelled as in float32", "held-out mIoU")], {}
    reference = fitted.predict(images).masks
    for denoiser, classifiers in (
        ("float32", "float32"),
        ("bfloat16", "float32"),
        ("bfloat16", "bfloat16"),
        ("float16", "float32"),
    ):
        source = features_in(getattr(torch, denoiser), options.device)
        half = Interpreter(source, fitted.classifiers, few.scheme, dtype=getattr(torch, classifiers))
        masks = half.predict(images).masks
        same, quality = (
            float((masks == reference).mean()),
            mean_iou(masks, truth, classes=len(few.scheme), ignore_index=255),
        )
        found[f"{denoiser}, {classifiers}"] = {"agreement": same, "miou": quality}
        rows.append((denoiser, classifiers, f"{same:.2%}", f"{quality:.4f}"))
    measuring.show(f"{measuring.hardware(options.device)}; {options.images} images", rows)
    measuring.finish("precision", options.device, vars(options), found)


def features_in(dtype: torch.dtype, device: str) -> DenoiserFeatures:
    return DenoiserFeatures(Denoiser.from_pretrained(DEMO / "model", device=device, dtype=dtype), blocks=BLOCKS)


if __name__ == "__main__":
    main()

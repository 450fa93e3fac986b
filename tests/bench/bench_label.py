"""Labels of an image: activations in hand to mask and uncertainty, and with --whole the feature pass before it.

Regime: the published sizes, 3 steps x [1024@32, 512@32, 512@32, 512@64, 256@128] to 256x256 pixels, 10 members.
Plain: 709 G multiply-adds in the first Linear on a dense tensor of 2.2 GB. Fast: the same Linear on the native maps,
32.2 G multiply-adds, 2.7 G in the second, 0.4 G in the third, 3.6 G for upsampling; the ceiling is the machine's
rate of large matrix products, which is measured here. Both ways must give the same labels.

`--source mae` has the sizes of the published MAE instead: 12 x 1024 channels at 32x32, 12,288 at each pixel, 3.2 GB.

    python tests/bench/bench_label.py [--size 256 --members 10 --dtype float32] [--whole --network bfloat16]
    python tests/bench/bench_label.py --source mae
"""

import argparse
from collections.abc import Sequence

import measuring
import numpy as np
import plain
import torch
from networks import published_denoiser, random_classifiers

from generate.pixels import to_model
from label import DenoiserFeatures, Interpreter, Scheme
from label.pixel_classifiers import PixelClassifiers
from pipelines.units.devices import set_up

BLOCKS = {"channels": (1024, 512, 512, 512, 256), "part": (8, 8, 8, 4, 2)}  # blocks 5, 6, 7, 8, 12 of the LSUN UNets
STEPS = (50, 150, 250)


class MapsInHand:
    """A feature source of the published shapes, whose maps are given to the interpreter directly."""

    digest = "in hand"

    def __init__(self, side: int, kind: str) -> None:
        self.image_size = (side, side)
        self.shapes = [(c, side // part) for c, part in zip(*BLOCKS.values(), strict=True)] * len(STEPS)
        if kind == "mae":
            self.shapes = [(1024, side // 8)] * 12
        self.channels = sum(channels for channels, _ in self.shapes)

    def maps(self, images: np.ndarray) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        return [torch.randn(len(images), c, r, r, generator=generator) for c, r in self.shapes]

    def save_pretrained(self, folder) -> None:
        raise NotImplementedError("a benchmark saves nothing")


def operations(source_shapes: Sequence[tuple[int, int]], classifiers: PixelClassifiers, side: int) -> dict[str, float]:
    """Floating point operations of an image's classifiers, by way; upsampling is left out of both."""
    members, first, second = classifiers.members, *classifiers.linear_2.weight.shape[:0:-1]
    rest = 2 * members * side**2 * (first * second + second * classifiers.classes)
    native = 2 * members * first * sum(c * r**2 for c, r in source_shapes)
    return {"plain": 2 * members * first * classifiers.channels * side**2 + rest, "fast": native + rest}


def agreement(fast, plainly: Sequence[tuple[torch.Tensor, ...]]) -> dict[str, float]:
    masks, doubts, scores = (torch.stack(parts).cpu().numpy() for parts in zip(*plainly, strict=True))
    shape = fast.masks.shape
    return {
        "labels_equal": float((fast.masks == masks.reshape(shape)).mean()),
        "divergence_difference": float(np.abs(fast.pixel_uncertainty - doubts.reshape(shape)).max()),
        "image_uncertainty_difference": float(np.abs(fast.uncertainty - scores).max()),
    }


def check(agreed: dict[str, float], dtype: torch.dtype, device: str) -> None:
    """Both ways gave the same; raises AssertionError otherwise.

    bf16 and TF32 are compared by their uncertainties alone: members of random weights vote in near ties.
    """
    exact = dtype == torch.float32 and device == "cpu"
    assert agreed["labels_equal"] >= 0.9999 or not exact, agreed
    most = 1e-4 if exact else 0.05
    assert max(agreed["divergence_difference"], agreed["image_uncertainty_difference"]) < most, agreed


def classifiers_alone(options: argparse.Namespace, dtype: torch.dtype) -> dict[str, float]:
    source = MapsInHand(options.size, options.source)
    classifiers = random_classifiers(options.members, source.channels, options.classes).to(options.device)
    scheme = Scheme(tuple(f"class {i}" for i in range(options.classes)))
    interpreter = Interpreter(source, classifiers, scheme, dtype=dtype)
    maps = [m.to(options.device) for m in source.maps(np.empty(options.images))]
    members, size = plain.members_of(classifiers), source.image_size

    def published_way():
        return [plain.label(members, plain.dense([m[i] for m in maps], size)) for i in range(options.images)]

    ways = {"plain": published_way, "fast": lambda: interpreter.label(maps)}
    interpreter.label(maps)  # the first call is slower: kernels are chosen and memory is fetched
    timed = measuring.alternate(ways, options.rounds, options.device)
    agreed = agreement(timed["fast"].result, timed["plain"].result)
    check(agreed, dtype, options.device)
    work, ceiling = operations(source.shapes, classifiers, options.size), measuring.matmul_rate(options.device, dtype)
    rows = [["classifiers alone", "s an image", "ratio", "CPU s", "ratio", "TFLOP/s", f"of {ceiling / 1e12:.3f}"]]
    for name, way in timed.items():
        seconds, cpu_seconds = way.best / options.images, way.best_cpu / options.images
        ratio, cpu_ratio = timed["plain"].best / way.best, timed["plain"].best_cpu / way.best_cpu
        times = [f"{seconds:.3f}", f"{ratio:.1f}", f"{cpu_seconds:.3f}", f"{cpu_ratio:.1f}"]
        rate = work[name] / seconds
        rows.append([name, *times, f"{rate / 1e12:.3f}", f"{rate / ceiling:.0%}"])
    measuring.show(f"{measuring.hardware(options.device)}, {options.dtype}", rows)
    if options.profile:
        profile(ways["fast"], options.device)
    seconds = {f"{name}_s": way.best / options.images for name, way in timed.items()}
    cpu_seconds = {f"{name}_cpu_s": way.best_cpu / options.images for name, way in timed.items()}
    ratios = {
        "ratio": timed["plain"].best / timed["fast"].best,
        "cpu_ratio": timed["plain"].best_cpu / timed["fast"].best_cpu,
    }
    return {**seconds, **cpu_seconds, **ratios, **agreed}


def profile(run, device: str) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as seen:
        run()
    print(seen.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=14))


def whole(options: argparse.Namespace, dtype: torch.dtype) -> dict[str, float]:
    """From images: one batch of all steps that ends at block 12, against whole forward passes one after another."""
    denoiser = published_denoiser(options.size, options.device, getattr(torch, options.network))
    features = DenoiserFeatures(denoiser, steps=STEPS)
    classifiers = random_classifiers(options.members, features.channels, options.classes).to(options.device)
    scheme = Scheme(tuple(f"class {i}" for i in range(options.classes)))
    interpreter, members = Interpreter(features, classifiers, scheme, dtype=dtype), plain.members_of(classifiers)
    shape = (options.images, *features.image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def whole_forward(image: np.ndarray, step: int) -> list[torch.Tensor]:
        """One image at one noise level through the whole network, as the publication runs it."""
        kept: dict[int, torch.Tensor] = {}
        hooks = [
            denoiser.blocks[b].last.register_forward_hook(lambda _m, _i, out, b=b: kept.update({b: out}))
            for b in features.blocks
        ]
        t = torch.full((1,), step, device=options.device)
        noise = features.noise.to(options.device)
        denoiser(denoiser.add_noise(to_model(image[None]).to(options.device), t, noise), t)
        for hook in hooks:
            hook.remove()
        return [kept[b][0] for b in features.blocks]

    def plain_maps() -> list[list[torch.Tensor]]:
        return [[m for step in STEPS for m in whole_forward(image, step)] for image in images]

    ways = {
        "plain features": plain_maps,
        "fast features": lambda: features.maps(images),
    }
    timed = measuring.alternate(ways, options.rounds, options.device)
    by_image = timed["plain features"].result
    classify = {
        "plain classifiers": lambda: [plain.label(members, plain.dense(m, features.image_size)) for m in by_image],
        "fast classifiers": lambda: interpreter.label(timed["fast features"].result),
    }
    timed |= measuring.alternate(classify, options.rounds, options.device)
    agreed = agreement(timed["fast classifiers"].result, timed["plain classifiers"].result)
    rows = [["whole labelling", "features, s an image", "classifiers, s", "share of classifiers", "ratio"]]
    total = {
        way: (timed[f"{way} features"].best + timed[f"{way} classifiers"].best) / options.images
        for way in ("plain", "fast")
    }
    for way, seconds in total.items():
        parts = [timed[f"{way} {part}"].best / options.images for part in ("features", "classifiers")]
        share, ratio = f"{parts[1] / seconds:.0%}", f"{total['plain'] / seconds:.2f}"
        rows.append([way, *(f"{part:.2f}" for part in parts), share, ratio])
    measuring.show("features and classifiers", rows)
    figures = {name.replace(" ", "_"): way.best / options.images for name, way in timed.items()}
    return {"ratio": total["plain"] / total["fast"], **figures, **agreed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="height and width of the images; a multiple of 32")
    parser.add_argument("--source", choices=("denoiser", "mae"), default="denoiser", help="whose maps; without --whole")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default=measuring.default_device())
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="fast classifiers")
    parser.add_argument("--network", choices=("float32", "bfloat16", "float16"), default="float32", help="with --whole")
    parser.add_argument("--whole", action="store_true", help="the feature pass as well: a UNet of 552.8 M parameters")
    parser.add_argument("--profile", action="store_true", help="show where the fast classifiers spend their time")
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    set_up(options.device)
    figures: dict[str, object] = {"classifiers_alone": classifiers_alone(options, dtype)}
    if options.whole:
        with torch.no_grad():
            figures["whole"] = whole(options, dtype)
    measuring.finish("label", options.device, vars(options), figures)


if __name__ == "__main__":
    main()

"""Fitting the interpreter: all members at once on native maps, against one after another on dense features.

Regime: the shipped domain (20 annotated images of 64x64, 8 classes) with features of the published sizes, 3 steps x
[1024@8, 512@8, 512@8, 512@16, 256@32]: 8448 channels a pixel, mixed at random from all activations of the shipped
model. Plain: batches of 64 as published, dense float32 features (2.8 GB here), a member after the other. Fast: the
setting of that name, half-precision maps, pixels gathered by their taps. The first Linear makes up nearly all of both,
4 x channels x 128 operations a pixel and member, so the ceiling is the rate of large matrix products and what counts
is how few pixels a fit needs. Both ways must label held-out images equally well.

    python tests/bench/bench_fit.py [--members 10 --images 20 --held-out 40 --setting fast --plain-members 10]
    python tests/bench/bench_fit.py --published [--images 30 --network bfloat16 --setting fast]

With fewer --plain-members, the plain time is scaled to all members, since it is linear in them; the quality that is
compared is then that of as many members of the fast way. With --published, the published UNet with random weights makes
the features, from the same faces enlarged to 256x256, and the fast way alone is timed: the plain one would hold 2.2 GB
an image.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import measuring
import numpy as np
import plain
import torch
from networks import published_denoiser
from torch.nn import functional as F

import pipelines
from deeplab import mean_iou
from generate import Denoiser
from label import FITTINGS, IGNORE, Annotations, DenoiserFeatures, Interpreter, load_annotations
from label.fitting import fit_members, labelled_pixels
from label.pixel_classifiers import PixelClassifiers
from label.pixel_source import PixelSource
from pipelines.units.devices import set_up

DEMO = Path(pipelines.__file__).parent / "demo"
PUBLISHED = ((1024, 8), (512, 8), (512, 8), (512, 4), (256, 2))  # channels of a block, and its share of the image
SOURCES = {8: (0, 1, 2), 4: (1, 2, 3, 4), 2: (3, 4, 5, 6, 7)}  # blocks of the shipped model that go into a share


class PublishedSizes:
    """The shipped model's activations in the shapes of the published ones; nothing is added but a random mixture."""

    digest = "published sizes"
    channels = 3 * sum(channels for channels, _ in PUBLISHED)

    def __init__(self, denoiser: Denoiser) -> None:
        self._features = DenoiserFeatures(denoiser, blocks=range(8))
        self.image_size = self._features.image_size

    def maps(self, images: np.ndarray) -> list[torch.Tensor]:
        native = self._features.maps(images)
        return [m for step in range(3) for m in self._mixed(native[8 * step : 8 * step + 8])]

    def _mixed(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        generator, mixed = torch.Generator().manual_seed(0), []
        for channels, share in PUBLISHED:
            side = self.image_size[0] // share
            finer = [F.pixel_unshuffle(maps[block], maps[block].shape[-1] // side) for block in SOURCES[share]]
            joined = torch.cat(finer, dim=1)
            mixture = torch.randn(channels, joined.shape[1], generator=generator) / joined.shape[1] ** 0.5
            mixed.append(torch.einsum("oc,bchw->bohw", mixture.to(joined), joined))
        return mixed

    def save_pretrained(self, folder: Path) -> None:
        raise NotImplementedError("a benchmark saves nothing")


def annotated(name: str, images: int) -> Annotations:
    few = load_annotations(DEMO / name, (64, 64))
    return replace(few, names=few.names[:images], images=few.images[:images], masks=few.masks[:images])


def joined(members: Sequence[torch.nn.Module], classifiers: PixelClassifiers) -> PixelClassifiers:
    """Plain members as one module, so that both ways are judged by the same code."""
    state = classifiers.state_dict()
    for number, member in enumerate(members):
        own = member.state_dict()
        for name, tensor in state.items():
            tensor[number] = own[plain.name_of(name)]
    return classifiers.eval()


def first_members(classifiers: PixelClassifiers, count: int) -> PixelClassifiers:
    fewer = PixelClassifiers(count, classifiers.channels, classifiers.classes)
    fewer.load_state_dict({name: tensor[:count] for name, tensor in classifiers.state_dict().items()})
    return fewer.to(classifiers.linear_1.weight.device)


def quality(source: PublishedSizes, classifiers: PixelClassifiers, maps: list[torch.Tensor], truth: Annotations):
    """Held-out mIoU of these members, and the mean uncertainty of an image in nats."""
    labels = Interpreter(source, classifiers, truth.scheme).label(maps)
    predicted, wanted = torch.from_numpy(labels.masks).long(), torch.from_numpy(truth.masks).long()
    miou = mean_iou(predicted, wanted, classes=len(truth.scheme), ignore_index=IGNORE)
    return float(miou), float(labels.uncertainty.mean())


class Clock:
    """Seconds and CPU seconds since it was made."""

    def __init__(self, device: str) -> None:
        self._device, self._start, self._cpu = device, time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        measuring.synchronise(self._device)
        return time.perf_counter() - self._start, time.process_time() - self._cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", action="store_true", help="the published UNet and size, the fast way alone")
    parser.add_argument("--size", type=int, default=256, help="with --published")
    parser.add_argument("--network", choices=("float32", "bfloat16", "float16"), default="float32", help="likewise")
    parser.add_argument("--images", type=int, default=20, help="annotated images, of 20; of 130 with --published")
    parser.add_argument("--held-out", type=int, default=40, help="images that both are judged on, of 120")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--plain-members", type=int, default=None, help="default: as many as --members")
    parser.add_argument("--setting", choices=FITTINGS, default="fast")
    parser.add_argument("--device", default=measuring.default_device())
    options = parser.parse_args()
    set_up(options.device)
    if options.published:
        published(options)
    else:
        compared(options)


def enlarged(size: int, images: int) -> Annotations:
    """Annotated and held-out faces, whose masks repeat each pixel."""
    parts = [load_annotations(DEMO / name, (size, size)) for name in ("annotated", "held_out")]
    names = [name for part in parts for name in part.names][:images]
    pixels, masks = (np.concatenate([getattr(p, field) for p in parts])[:images] for field in ("images", "masks"))
    return replace(parts[0], names=names, images=pixels, masks=masks)


def published(options: argparse.Namespace) -> None:
    """Features of all images by the published UNet, then the fit, each timed."""
    device, settings = options.device, replace(FITTINGS[options.setting], members=options.members)
    faces = enlarged(options.size, options.images)
    features = DenoiserFeatures(published_denoiser(options.size, options.device, getattr(torch, options.network)))
    clock = Clock(device)
    native = PixelSource.of(features, faces.images, memory_budget=settings.memory_budget, device=device)
    features_seconds, _ = clock.read()
    pixels = labelled_pixels(faces.masks, settings.min_class_pixels)
    classifiers, clock = PixelClassifiers(options.members, native.channels, len(faces.scheme)).to(device), Clock(device)
    steps = list(fit_members(classifiers, native, pixels, settings))
    fit_seconds, _ = clock.read()
    host = measuring.peak_memory()
    rows = [["members", "images", "features, s", "fit, s", "batches", "last loss", "host memory, GB", "maps, GB"]]
    seconds = [f"{features_seconds:.1f}", f"{fit_seconds:.1f}"]
    memory = [f"{host / 1e9:.2f}", f"{native.bytes / 1e9:.2f}"]
    rows.append(
        [str(options.members), str(len(faces.images)), *seconds, str(len(steps)), f"{steps[-1].loss:.3f}", *memory]
    )
    measuring.show(f"{measuring.hardware(device)}, {options.network}, {options.size}x{options.size}", rows)
    figures = {"features_s": features_seconds, "fit_s": fit_seconds, "batches": len(steps), "loss": steps[-1].loss}
    measuring.finish("fit-published", device, vars(options), {**figures, "peak_host_bytes": host, "maps": native.bytes})


def compared(options: argparse.Namespace) -> None:
    """Both ways, on the shipped domain."""
    device, plain_members = options.device, options.plain_members or options.members
    settings = replace(FITTINGS[options.setting], members=options.members, min_class_pixels=1)
    train, held_out = annotated("annotated", options.images), annotated("held_out", options.held_out)
    source = PublishedSizes(Denoiser.from_pretrained(DEMO / "model", device=device))
    native = PixelSource.of(source, train.images, device=device)
    pixels, classes = labelled_pixels(train.masks, settings.min_class_pixels), len(train.scheme)
    held_out_maps = [m.permute(0, 3, 1, 2).float() for m in PixelSource.of(source, held_out.images, device=device).maps]

    fast_clock = Clock(device)
    fast = PixelClassifiers(options.members, source.channels, classes).to(device)
    batches = sum(1 for _ in fit_members(fast, native, pixels, settings))
    fast_seconds, fast_cpu = fast_clock.read()

    maps = [m.permute(0, 3, 1, 2) for m in native.maps]
    features = torch.cat([plain.dense([m[i] for m in maps], (64, 64)) for i in range(options.images)])
    features = features.unflatten(0, train.masks.shape)[pixels.image, pixels.row, pixels.column].contiguous()
    labels = pixels.label.to(device)
    plain_clock, members, plain_batches = Clock(device), [], 0
    for number in range(plain_members):
        torch.manual_seed(number)
        members.append(plain.member(source.channels, classes).to(device))
        plain_batches += sum(1 for _ in plain.fit(members[-1], features, labels, seed=number))
    plain_seconds, plain_cpu = (spent * options.members / plain_members for spent in plain_clock.read())

    one_by_one = joined(members, PixelClassifiers(plain_members, source.channels, classes)).to(device)
    plain_quality = quality(source, one_by_one, held_out_maps, held_out)
    fast_quality = quality(source, first_members(fast, plain_members), held_out_maps, held_out)
    all_members = quality(source, fast, held_out_maps, held_out)
    rows = [["fit", "s", "ratio", "CPU s", "ratio", "features, MB", "ratio", "batches a member", "held-out mIoU"]]
    for name, s, cpu, held, steps, judged in (
        ("plain", plain_seconds, plain_cpu, features.nbytes, plain_batches // plain_members, plain_quality),
        ("fast", fast_seconds, fast_cpu, native.bytes, batches, fast_quality),
    ):
        ratios = plain_seconds / s, plain_cpu / cpu, features.nbytes / held
        shown = [f"{s:.1f}", f"{ratios[0]:.1f}", f"{cpu:.1f}", f"{ratios[1]:.1f}", f"{held / 1e6:.0f}"]
        rows.append([name, *shown, f"{ratios[2]:.1f}", str(steps), f"{judged[0]:.4f}"])
    measuring.show(f"{measuring.hardware(device)}; {plain_members} of {options.members} members compared", rows)
    print(f"\nall {options.members} members of the fast way: {all_members[0]:.4f}")
    figures = {
        "plain_s": plain_seconds, "fast_s": fast_seconds, "ratio": plain_seconds / fast_seconds,
        "plain_cpu_s": plain_cpu, "fast_cpu_s": fast_cpu, "cpu_ratio": plain_cpu / fast_cpu,
        "plain_bytes": features.nbytes, "fast_bytes": native.bytes, "memory_ratio": features.nbytes / native.bytes,
        "plain_miou": plain_quality[0], "fast_miou": fast_quality[0], "fast_miou_all_members": all_members[0],
        "plain_uncertainty": plain_quality[1], "fast_uncertainty": fast_quality[1],
        "peak_host_bytes": measuring.peak_memory(),
        "matmul_flops": measuring.matmul_rate(device, torch.float32),
    }  # fmt: skip
    measuring.finish("fit", device, vars(options), figures)


if __name__ == "__main__":
    main()

"""Samples a second from shards to a batch that a network takes: ours, and a plain loop of torch.utils.data.

Regime: inflating PNGs bounds an epoch that decodes; later ones, of samples that stayed decoded, are bounded by copying
and normalising. Both read the same shards and end with the same float32 batches: RGB normalised as ImageNet's, masks as
int64. The plain loop is a Dataset that finds a sample in its tar by an offset, decodes it with Pillow and normalises it
with transforms.v2, in a DataLoader that shuffles, without worker processes. Then both feed the demo's DeepLab, for the
share of a step that is spent waiting.

    python tests/bench/bench_input.py [--size 256 --samples 256] [--rounds 3] [--batch 16] [--threads 1] [--steps 8]
"""

import argparse
import itertools
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path

import measuring
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import deeplab
from deeplab.images import IMAGENET_MEAN, IMAGENET_STD, prepare
from label import load_annotations
from pipelines.dataset.manifest import Dataset as Described
from pipelines.dataset.manifest import claim, open_dataset
from pipelines.dataset.reports import Candidate
from pipelines.dataset.shards import Sample, class_pixels, pack, write_shard
from pipelines.training.data import Part, ShardData, batched, shard_data

FACES = Path(__file__).parents[2] / "pipelines" / "demo" / "annotated"


class Plain(Dataset):
    """Every sample of the shards by its place."""

    def __init__(self, folder: Path) -> None:
        self.members: list[tuple[Path, dict[str, tuple[int, int]]]] = []
        for path in sorted(folder.glob("*.tar")):
            found: dict[str, dict[str, tuple[int, int]]] = {}
            with tarfile.open(path) as tar:
                for member in tar:
                    key, _, suffix = member.name.partition(".")
                    found.setdefault(key, {})[suffix] = (member.offset_data, member.size)
            self.members += [(path, members) for members in found.values()]
        scaled = v2.ToDtype(torch.float32, scale=True)
        self.transform = v2.Compose([scaled, v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        path, members = self.members[place]
        with open(path, "rb") as file:
            image, mask = (_read(file, *members[suffix]) for suffix in ("png", "mask.png"))
        picture, truth = (v2.functional.pil_to_tensor(Image.open(BytesIO(content))) for content in (image, mask))
        return self.transform(picture), truth[0].long()


def _read(file, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def ours(data: ShardData, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    pairs = (pair for _, pair in islice(data.pairs(seed, 0, Part(batch)), len(data)))
    for images, masks in batched(pairs, batch):
        yield prepare(images, torch.device("cpu")), torch.from_numpy(masks).long()


def plain(dataset: Plain, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    yield from DataLoader(dataset, batch, shuffle=True, drop_last=True, generator=generator)


def noisy_faces(folder: Path, size: int, samples: int) -> None:
    """Shards of the demo's annotated faces, enlarged, with as much noise as makes PNGs as large as a photograph's."""
    faces, rng = load_annotations(FACES, size=(size, size)), np.random.default_rng(0)
    scheme = faces.scheme
    colors = [list(color) for color in scheme.colors]
    claim(folder, Described("", list(scheme.names), colors, {}, "", "", {}))
    for unit, start in enumerate(range(0, samples, 32)):
        made = []
        for seed in range(start, min(start + 32, samples)):
            place = seed % len(faces.images)
            noise = rng.normal(0, 2, faces.images[place].shape)
            image = np.clip(faces.images[place] + noise, 0, 255).round().astype(np.uint8)
            made.append(Sample(seed, image, faces.masks[place], 0.0, {}, None))
        candidates = [Candidate(s.seed, True, 0.0, class_pixels(s.mask, scheme)) for s in made]
        write_shard(folder, unit, "", pack(made, scheme), candidates, {})


def rate(batches: Iterator[tuple[Tensor, Tensor]]) -> float:
    start, count = time.perf_counter(), 0
    for images, _ in batches:
        count += len(images)
    return count / (time.perf_counter() - start)


def our_training(data: ShardData, network: nn.Module, options: argparse.Namespace) -> tuple[float, float]:
    """Samples a second of the training loop, and the share of the time spent waiting for them."""
    pairs = (pair for _, pair in data.pairs(0, 0, Part(options.batch)))
    fitting = deeplab.fit(network, batched(pairs, options.batch), steps=options.steps, device=options.device)
    steps = list(fitting)
    seconds = sum(step.seconds for step in steps)
    return options.steps * options.batch / seconds, sum(step.waited for step in steps) / seconds


def plain_training(dataset: Plain, network: nn.Module, options: argparse.Namespace) -> tuple[float, float]:
    """The same by a loop as one would write it."""
    network.to(options.device).train()
    optimizer, waited, start = torch.optim.Adam(network.parameters(), 1e-3), 0.0, time.perf_counter()
    batches = (batch for seed in itertools.count() for batch in plain(dataset, options.batch, seed))
    for _ in range(options.steps):
        asked = time.perf_counter()
        images, masks = next(batches)
        waited += time.perf_counter() - asked
        optimizer.zero_grad()
        logits = network(images.to(options.device))
        F.cross_entropy(logits, masks.to(options.device), ignore_index=255).backward()
        optimizer.step()
    measuring.synchronise(options.device)
    seconds = time.perf_counter() - start
    return options.steps * options.batch / seconds, waited / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=6, help="of the training")
    parser.add_argument("--device", default=measuring.default_device())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        noisy_faces(folder, options.size, options.samples)
        compare(folder, options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    plain_set, fresh, stayed = Plain(folder), shard_data(folder), shard_data(folder, memory=2**32)
    given, taken = contents(plain(plain_set, options.batch, 0)), contents(ours(stayed, options.batch, 0))
    assert given == taken, "both ways must give the same samples"
    ways = {
        "plain": lambda seed: plain(plain_set, options.batch, seed),
        "ours, an epoch that decodes": lambda seed: ours(fresh, options.batch, seed),
        "ours, a later epoch": lambda seed: ours(stayed, options.batch, seed),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for seed in range(options.rounds + 1):  # the first round warms the page cache
        for name, way in ways.items():
            found = rate(way(seed))
            if seed:
                rates[name].append(found)
    alone = {name: statistics.median(values) for name, values in rates.items()}
    classes = len(open_dataset(folder).names)
    shape = {"variant": "v3+", "encoder": "mobilenet_v2", "encoder_depth": 3, "output_stride": 16}
    training = {
        "plain": plain_training(plain_set, deeplab.build(classes, **shape), options),
        "ours, an epoch that decodes": our_training(fresh, deeplab.build(classes, **shape), options),
        "ours, a later epoch": our_training(stayed, deeplab.build(classes, **shape), options),
    }
    rows: list[tuple[object, ...]] = [("way", "input alone, samples/s", "ratio", "training, samples/s", "waiting")]
    for name, value in alone.items():
        speed, waited = training[name]
        rows.append((name, f"{value:.0f}", f"{value / alone['plain']:.2f}", f"{speed:.1f}", f"{waited:.1%}"))
    measuring.show(f"{options.samples} samples of {options.size}x{options.size}", rows)
    figures = {"samples_s": alone, "training_samples_s_and_waiting": training}
    measuring.finish("input", options.device, vars(options), figures)


def contents(batches: Iterator[tuple[Tensor, Tensor]]) -> set[tuple[int, int]]:
    """Every sample by the sums of its 8-bit values, whatever the order."""
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    return {
        (int(((image * std + mean) * 255).round().sum()), int(mask.sum()))
        for images, masks in batches
        for image, mask in zip(images, masks, strict=True)
    }


if __name__ == "__main__":
    main()

"""Samples a second from shards to a batch that a network takes: ours, and a plain loop of torch.utils.data.

Both read the same shards and end with the same float32 batches: RGB normalised as ImageNet's, masks as int64. The plain
loop is a Dataset that finds a sample in its tar by an offset, decodes it with Pillow and normalises it with
transforms.v2, in a DataLoader that shuffles, without worker processes. The two alternate, in one process.

    python tests/bench/bench_input.py DATASET [--rounds 5] [--batch 16] [--threads 1]
"""

import argparse
import json
import statistics
import tarfile
import time
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from deeplab.model import IMAGENET_MEAN, IMAGENET_STD, prepare
from pipelines.training_data import Part, ShardData, batched, shard_data


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


def rate(batches: Iterator[tuple[Tensor, Tensor]]) -> float:
    start, count = time.perf_counter(), 0
    for images, _ in batches:
        count += len(images)
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data, dataset = shard_data(given.dataset), Plain(given.dataset)
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    for seed in range(given.rounds + 1):  # the first round warms the page cache
        each = {"ours": rate(ours(data, given.batch, seed)), "plain": rate(plain(dataset, given.batch, seed))}
        if seed:
            for name, value in each.items():
                rates[name].append(value)
            print(f"round {seed}: ours {each['ours']:.0f}, plain {each['plain']:.0f} samples/s")
    median = {name: statistics.median(values) for name, values in rates.items()}
    print(json.dumps({**median, "ratio": median["ours"] / median["plain"], "samples": len(data)}))


if __name__ == "__main__":
    main()

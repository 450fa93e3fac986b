"""What a network is trained on: shards, checked and filtered by their reports, or the annotated few; without end.

The order is a function of (seed, epoch) alone. Where several workers share the batches, each reads the stream and
decodes its own part: epochs and step counts are those of one worker, however uneven the shards. What was decoded stays
in memory as far as a budget allows; a shard of which all stayed is not read again.
"""

import hashlib
import io
import itertools
import json
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from webdataset.filters import shuffle
from webdataset.tariterators import group_by_keys, tar_file_expander

from label import IGNORE, Annotations
from pipelines import storage
from pipelines.dataset.damage import damages
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.reports import Report, is_report, shard_path, unit_of
from pipelines.dataset.shards import class_pixels
from pipelines.errors import DatasetError
from pipelines.storage import Location

Pair = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]
Batch = tuple[UInt8[np.ndarray, "b h w 3"], UInt8[np.ndarray, "b h w"]]
BUFFER = 2000  # samples that are shuffled together, still compressed
_THREADS, _CHUNK, _AHEAD = 2, 8, 4  # that decode; samples that one takes at a time; chunks that wait to be asked for


@dataclass(frozen=True)
class Part:
    """A worker's share of every batch: the rank-th of as many equal ones as there are workers."""

    batch_size: int  # of all workers together
    rank: int = 0
    workers: int = 1

    @property
    def size(self) -> int:
        return self.batch_size // self.workers

    def has(self, number: int) -> bool:
        """Whether the sample of this number in the common order is the worker's."""
        return number % self.batch_size // self.size == self.rank


class Decoded:
    """Samples by their seed, the first ones that fit into a budget in bytes; a copy in another process begins empty."""

    def __init__(self, budget: float) -> None:
        self._left, self._budget = budget, budget
        self._pairs: dict[int, Pair] = {}

    def __reduce__(self) -> tuple[type["Decoded"], tuple[float]]:
        return Decoded, (self._budget,)

    def get(self, seed: int) -> Pair | None:
        return self._pairs.get(seed)

    def put(self, seed: int, pair: Pair) -> None:
        size = sum(array.nbytes for array in pair)
        if seed not in self._pairs and size <= self._left:
            self._left -= size
            self._pairs[seed] = pair


@dataclass(frozen=True)
class ShardData:
    """The samples of a dataset that training sees."""

    folder: Location
    reports: tuple[Report, ...]
    seeds: frozenset[int]
    ignore_above: float | None  # nats; pixels that are less certain are ignored
    decoded: Decoded

    @property
    def record(self) -> dict[str, Any]:
        """All that the samples depend on."""
        drops = None if len(self.seeds) == sum(r.counts["kept"] for r in self.reports) else sorted(self.seeds)
        return {"shards": [r.sha256 for r in self.reports], "seeds": drops, "ignore_above": self.ignore_above}

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width."""
        _, (_, mask) = self._decode(self.first_record)
        return mask.shape[0], mask.shape[1]

    @property
    def first_record(self) -> dict[str, Any]:
        """A sample, still compressed, for what all of them have alike."""
        return next(record for report in self.reports for record in self._read(report))

    @property
    def class_pixels(self) -> list[int]:
        """Pixels of each class over an epoch, before any are ignored for their uncertainty."""
        used = [c.class_pixels for r in self.reports for c in r.candidates if c.seed in self.seeds]
        return np.sum(used, axis=0).tolist()

    def pairs(self, seed: int, start: int, part: Part) -> Iterator[tuple[int, Pair]]:
        """Yield (number, (image, mask)) from sample `start` of the common order on, those of the part."""
        mine = ((number, record) for number, record in self._numbered(seed, start) if part.has(number))
        for number, (sample, pair) in _ahead(self._decode, mine):
            self.decoded.put(sample, pair)
            yield number, pair

    def _numbered(self, seed: int, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Records, still compressed: shards shuffled, then samples within a buffer, in each epoch anew."""
        first = start // len(self)
        for epoch in itertools.count(first):
            rng = random.Random(f"{seed}-{epoch}")
            shards = rng.sample(self.reports, len(self.reports))
            read = (record for report in shards for record in self._records(report))
            records = shuffle(BUFFER, rng=rng, initial=BUFFER)(read)
            for number, record in enumerate(records, epoch * len(self)):
                if number >= start:
                    yield number, record

    def _records(self, report: Report) -> Iterator[dict[str, Any]]:
        """The shard's samples in their order; keys alone where all of them are decoded."""
        seeds = [c.seed for c in report.candidates if c.kept and c.seed in self.seeds]
        if all(map(self.decoded.get, seeds)):
            yield from ({"__key__": str(seed)} for seed in seeds)
        else:
            yield from self._read(report)

    def _read(self, report: Report) -> Iterator[dict[str, Any]]:
        path = shard_path(self.folder, report.unit)
        opened = {"url": str(path), "stream": io.BytesIO(storage.read(path))}
        for record in group_by_keys(tar_file_expander([opened])):
            if int(record["__key__"]) in self.seeds:
                yield record

    def _decode(self, record: dict[str, Any]) -> tuple[int, Pair]:
        seed = int(record["__key__"])
        if pair := self.decoded.get(seed):
            return seed, pair
        image, mask = _pixels(record["png"]), _pixels(record["mask.png"])
        if self.ignore_above is not None:
            classes = len(json.loads(record["json"])["class_pixels"])
            doubt = _pixels(record["uncertainty.png"]) * (math.log(classes) / 255)
            mask = np.where(doubt > self.ignore_above, np.uint8(IGNORE), mask)
        return seed, (image, mask)


@dataclass(frozen=True)
class AnnotatedData:
    """The few annotated images as training data."""

    annotations: Annotations

    def __len__(self) -> int:
        return len(self.annotations.images)

    @property
    def record(self) -> dict[str, Any]:
        content = hashlib.sha256(repr(self.annotations.scheme).encode())
        content.update(self.annotations.images.tobytes() + self.annotations.masks.tobytes())
        return {"annotations": content.hexdigest()}

    @property
    def class_pixels(self) -> list[int]:
        scheme = self.annotations.scheme
        return np.sum([class_pixels(mask, scheme) for mask in self.annotations.masks], axis=0).tolist()

    def pairs(self, seed: int, start: int, part: Part) -> Iterator[tuple[int, Pair]]:
        """As ShardData.pairs: each epoch in an order of its own."""
        for epoch in itertools.count(start // len(self)):
            order = np.random.default_rng([seed, epoch]).permutation(len(self))
            for number, i in enumerate(order, epoch * len(self)):
                if number >= start and part.has(number):
                    yield number, (self.annotations.images[i], self.annotations.masks[i])


def shard_data(
    folder: Location,
    *,
    keep: float = 1.0,
    ignore_above: float | None = None,
    memory: float = 0,
) -> ShardData:
    """The dataset's samples, after every byte of it was compared with the reports.

    `keep` is the share of the kept samples that training sees, the most certain ones of the whole dataset. Decoded
    samples stay in `memory`, in bytes, of each process. Raises DatasetError that names every shard which is not what
    its report says.
    """
    open_dataset(folder)
    committed = {unit_of(name): folder / name for name in storage.names(folder) if is_report(name)}
    damaged = [str(damage) for damage in damages(folder) if damage.unit in committed]
    if damaged:
        raise DatasetError(
            f"{folder}: {'; '.join(damaged)}; run `datasetddpm generate` with --repair, or remove these shards with "
            "their reports to train without them"
        )
    reports = tuple(Report.read(path) for _, path in sorted(committed.items()))
    certain = sorted((c.uncertainty, c.seed) for r in reports for c in r.candidates if c.kept)
    if not certain:
        raise DatasetError(f"{folder} holds no shards with samples; generate a dataset there first")
    seeds = frozenset(seed for _, seed in certain[: math.ceil(keep * len(certain) - 1e-9)])
    data = ShardData(folder, reports, seeds, ignore_above, Decoded(memory))
    if ignore_above is not None:
        _check_maps(data)
    return data


def _check_maps(data: ShardData) -> None:
    if "uncertainty.png" not in data.first_record:
        raise DatasetError(
            f"train.ignore_above needs the uncertainty of pixels, which {data.folder} does not hold; generate it with "
            "generate.uncertainty_maps = true, or leave ignore_above out"
        )


def batched(pairs: Iterable[Pair], size: int) -> Iterator[Batch]:
    """Stack (image, mask) pairs into batches of `size`; a rest that does not fill one is left out."""
    images, masks = [], []
    for image, mask in pairs:
        images.append(image)
        masks.append(mask)
        if len(images) == size:
            yield np.stack(images), np.stack(masks)
            images, masks = [], []


def _ahead(
    decode: Callable[[dict[str, Any]], tuple[int, Pair]], records: Iterable[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, tuple[int, Pair]]]:
    """Decode in threads, a few samples ahead of what is asked for, in the order of the records."""

    def decoded(chunk: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, tuple[int, Pair]]]:
        return [(number, decode(record)) for number, record in chunk]

    rest = iter(records)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="decode") as pool:
        waiting: deque[Future[list[tuple[int, tuple[int, Pair]]]]] = deque()
        while chunk := list(itertools.islice(rest, _CHUNK)):
            waiting.append(pool.submit(decoded, chunk))
            if len(waiting) > _AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)

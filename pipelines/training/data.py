"""What a network is trained on: shards, checked and filtered by their reports, or the annotated few; without end.

The order is a function of (seed, epoch) alone. Where several workers share the batches, each reads the stream and
decodes its own part: epochs and step counts are those of one worker, however uneven the shards. A shard of which all
samples stayed decoded is not read again.
"""

import itertools
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import UInt8
from webdataset.filters import shuffle

from label import IGNORE, Annotations
from pipelines.annotated import annotations_digest
from pipelines.dataset.damage import Damage, checked_reports, must_be_whole
from pipelines.dataset.filtering import refuse_half_filtered
from pipelines.dataset.inventory import shard_path, take_inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.reports import Report
from pipelines.dataset.shards import Sample, class_pixels, decode, records
from pipelines.digests import digest_of
from pipelines.errors import DatasetError
from pipelines.files.storage import Location
from pipelines.training.decoding import Decoded, Pair, decoded_ahead

Batch = tuple[UInt8[np.ndarray, "b h w 3"], UInt8[np.ndarray, "b h w"]]
Corrupt = Literal["stop", "skip"]
BUFFER = 2000  # samples that are shuffled together, still compressed


@dataclass(frozen=True)
class Part:
    """A worker's share of every batch: the rank-th of as many equal ones as there are workers."""

    batch_size: int  # of all workers together
    rank: int = 0
    workers: int = 1

    @property
    def size(self) -> int:
        return self.batch_size // self.workers

    @property
    def places(self) -> range:
        """Those of every batch that are the worker's."""
        return range(self.rank * self.size, (self.rank + 1) * self.size)

    def has(self, number: int) -> bool:
        """Whether the sample of this number in the common order is the worker's."""
        return number % self.batch_size in self.places


class Wanted(Protocol):
    """Which samples of a common order are asked for."""

    def has(self, number: int) -> bool:
        """Whether the sample of this number is one of them."""
        ...


@dataclass(frozen=True)
class ShardData:
    """The samples of a dataset that training sees."""

    folder: Location
    reports: tuple[Report, ...]  # of whole shards
    skipped: tuple[str, ...]  # the damage of each of the others, as a clause
    seeds: frozenset[int]
    ignore_above: float | None  # nats; pixels that are less certain are ignored
    decoded: Decoded

    @property
    def record(self) -> dict[str, Any]:
        """All that the samples depend on."""
        seeds = digest_of({"seeds": sorted(self.seeds)})
        return {"shards": [r.sha256 for r in self.reports], "seeds": seeds, "ignore_above": self.ignore_above}

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.first.mask.shape
        return height, width

    @property
    def first(self) -> Sample:
        """A sample, for what all of them have alike."""
        return decode(next(record for report in self.reports for record in self._read(report)))

    @property
    def class_pixels(self) -> list[int]:
        """Pixels of each class over an epoch, before any are ignored for their uncertainty."""
        used = [c.class_pixels for r in self.reports for c in r.candidates if c.seed in self.seeds]
        return np.sum(used, axis=0).tolist()

    def pairs(self, seed: int, start: int, part: Wanted) -> Iterator[tuple[int, Pair]]:
        """Yield (number, (image, mask)) from sample `start` of the common order on, those of the part."""
        mine = ((number, record) for number, record in self._numbered(seed, start) if part.has(number))
        for number, (sample, pair) in decoded_ahead(self._decode, mine):
            self.decoded.put(sample, pair)
            yield number, pair

    def _numbered(self, seed: int, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Records, still compressed: shards shuffled, then samples within a buffer, in each epoch anew."""
        first = start // len(self)
        for epoch in itertools.count(first):
            rng = random.Random(f"{seed}-{epoch}")
            shards = rng.sample(self.reports, len(self.reports))
            in_order = (record for report in shards for record in self._records(report))
            shuffled = shuffle(BUFFER, rng=rng, initial=BUFFER)(in_order)
            for number, record in enumerate(shuffled, epoch * len(self)):
                if number >= start:
                    yield number, record

    def _records(self, report: Report) -> Iterator[dict[str, Any]]:
        """The shard's samples in their order; where all of them stayed decoded, their keys alone."""
        seeds = [c.seed for c in report.candidates if c.kept and c.seed in self.seeds]
        if all(map(self.decoded.get, seeds)):
            yield from ({"__key__": str(seed)} for seed in seeds)
        else:
            yield from self._read(report)

    def _read(self, report: Report) -> Iterator[dict[str, Any]]:
        shard = records([shard_path(self.folder, report.unit)])
        return (record for record in shard if _seed(record) in self.seeds)

    def _decode(self, record: dict[str, Any]) -> tuple[int, Pair]:
        seed = _seed(record)
        if pair := self.decoded.get(seed):
            return seed, pair
        sample = decode(record, pixel_uncertainty=self.ignore_above is not None)
        mask = sample.mask
        if self.ignore_above is not None:
            assert sample.pixel_uncertainty is not None, "shard_data has looked for it"
            mask = np.where(sample.pixel_uncertainty > self.ignore_above, np.uint8(IGNORE), mask)
        return seed, (sample.image, mask)


def _seed(record: dict[str, Any]) -> int:
    return int(record["__key__"])


@dataclass(frozen=True)
class AnnotatedData:
    """The few annotated images as training data."""

    annotations: Annotations

    def __len__(self) -> int:
        return len(self.annotations.images)

    @property
    def record(self) -> dict[str, Any]:
        return {"annotations": annotations_digest(self.annotations)}

    @property
    def class_pixels(self) -> list[int]:
        scheme = self.annotations.scheme
        return np.sum([class_pixels(mask, scheme) for mask in self.annotations.masks], axis=0).tolist()

    def pairs(self, seed: int, start: int, part: Wanted) -> Iterator[tuple[int, Pair]]:
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
    corrupt: Corrupt = "stop",
    memory: float = 0,
    partial: bool = False,
) -> ShardData:
    """The dataset's samples, after every byte of it was compared with the reports.

    `keep` is the share of the kept samples that training sees, the most certain ones of the whole dataset. Decoded
    samples stay in `memory`, in bytes, of each process. A shard that is not as its report says is named in a
    DatasetError, or left out and counted where corrupt is "skip"; so is a dataset that is not whole, unless `partial`.
    """
    inventory = take_inventory(folder)
    checks = list(checked_reports(inventory))
    sound = [check for check in checks if isinstance(check, Report)]
    damaged = tuple(str(check) for check in checks if isinstance(check, Damage))
    if damaged and corrupt == "stop":
        raise DatasetError(
            f"{folder}: {'; '.join(damaged)}; run `datasetddpm generate` with --repair, or train without by "
            'train.corrupt_shards = "skip"'
        )
    dataset = open_dataset(folder)
    for report in sound:
        refuse_half_filtered(folder, report, dataset)
    certain = sorted((c.uncertainty, c.seed) for r in sound for c in r.candidates if c.kept)
    if not certain:
        raise DatasetError(f"{folder} holds no shards with samples; generate a dataset there first")
    if not (partial or damaged):
        must_be_whole(inventory, dataset)
    seeds = frozenset(seed for _, seed in certain[: math.ceil(keep * len(certain) - 1e-9)])
    data = ShardData(folder, tuple(sound), damaged, seeds, ignore_above, Decoded(memory))
    if ignore_above is not None:
        _check_maps(data)
    return data


def _check_maps(data: ShardData) -> None:
    if data.first.pixel_uncertainty is None:
        raise DatasetError(
            f"train.ignore_above needs the uncertainty of pixels, which {data.folder} does not hold; generate another "
            "with generate.uncertainty_maps = true, or leave ignore_above out"
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

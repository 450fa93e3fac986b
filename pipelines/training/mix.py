"""Several sources in one training: each has its places in every batch, and an order and augmentation of its own.

A batch holds the images of the first source, then those of the second, and so on, always equally many. So number and
source of every image follow from its place, and a training goes on at any step as if there had been no break.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deeplab.settings import Augmentation
from pipelines.digests import digest_of
from pipelines.training.data import AnnotatedData, Part, ShardData
from pipelines.training.decoding import Pair


@dataclass(frozen=True)
class Ingredient:
    """A source of a training."""

    name: str  # as the recipe has it
    data: ShardData | AnnotatedData
    count: int  # of its images in a batch
    augmentation: Augmentation


@dataclass(frozen=True)
class Places:
    """Of a source's images those that a worker has: some places of every batch."""

    count: int  # of the source's images in a batch
    mine: range

    def has(self, number: int) -> bool:
        """As Part.has, in the order of the source."""
        return number % self.count in self.mine


@dataclass(frozen=True)
class Drawn:
    """A training image with its mask."""

    number: int  # in the common order
    pair: Pair
    augmentation: Augmentation


@dataclass(frozen=True)
class Mix:
    """All that a network is trained on."""

    ingredients: tuple[Ingredient, ...]

    @property
    def batch_size(self) -> int:
        return sum(each.count for each in self.ingredients)

    def __len__(self) -> int:
        """Images of an epoch, after which every sample was seen at least once."""
        if len(self.ingredients) == 1:
            return len(self.ingredients[0].data)
        return max(-(-len(each.data) // each.count) for each in self.ingredients) * self.batch_size

    @property
    def digest(self) -> str:
        """Of all that the images depend on, beside the recipe's own words."""
        records = [each.data.record for each in self.ingredients]
        return digest_of(records[0] if len(records) == 1 else {"sources": records})

    @property
    def skipped(self) -> int:
        """Corrupt shards that were left out."""
        return sum(len(each.data.skipped) for each in self.ingredients if isinstance(each.data, ShardData))

    @property
    def class_pixels(self) -> list[float]:
        """Pixels of each class, each source as often as it is seen while the others are."""
        sizes = sum(len(each.data) for each in self.ingredients)
        pixels = [np.array(each.data.class_pixels) * each.count * (sizes / len(each.data)) for each in self.ingredients]
        return np.sum(pixels, axis=0).tolist()

    def drawn(self, seed: int, start: int, part: Part) -> Iterator[Drawn]:
        """Images from number `start` of the common order on, the first of a batch; those of the part alone."""
        assert part.batch_size == self.batch_size
        batch, first = start // self.batch_size, 0
        streams: list[tuple[Ingredient, range, Iterator[tuple[int, Pair]]]] = []
        for each in self.ingredients:
            mine = range(max(0, part.places.start - first), min(each.count, part.places.stop - first))
            if mine:
                pairs = each.data.pairs(seed, batch * each.count, Places(each.count, mine))
                streams.append((each, range(first + mine.start, first + mine.stop), pairs))
            first += each.count
        while True:
            for each, places, pairs in streams:
                for place in places:
                    _, pair = next(pairs)
                    yield Drawn(batch * self.batch_size + place, pair, each.augmentation)
            batch += 1

"""Which maps an interpreter reads, as a recipe says it: the values of a few keys, and all maps that lie at them."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Choice:
    """Values of keys of [interpreter]; there is a map for each combination of them, those of the last key closest."""

    keys: tuple[tuple[str, tuple[int, ...]], ...]  # (("steps", (50, 150)), ("blocks", (4,)))

    @classmethod
    def of(cls, values: Mapping[str, tuple[int, ...]]) -> "Choice":
        return cls(tuple(values.items()))

    @property
    def name(self) -> str:
        """As steps=50,150-blocks=4, for people and files."""
        return "-".join(f"{key}={','.join(map(str, values))}" for key, values in self.keys)

    @property
    def places(self) -> list[tuple[int, ...]]:
        """Of each map its step and block, in the order of the maps."""
        return list(product(*(values for _, values in self.keys)))

    @property
    def as_json(self) -> dict[str, list[int]]:
        return {key: list(values) for key, values in self.keys}

    def within(self, whole: "Choice") -> list[int]:
        """Where its maps lie among those of a larger choice."""
        order = {place: number for number, place in enumerate(whole.places)}
        return [order[place] for place in self.places]

    def singles(self) -> Iterator["Choice"]:
        """Every map alone."""
        for place in self.places:
            yield Choice.of({key: (value,) for (key, _), value in zip(self.keys, place, strict=True)})

    def joins(self, whole: "Choice") -> Iterator["Choice"]:
        """Itself with one more value of one key, each in turn."""
        for key, values in self.keys:
            for value in dict(whole.keys)[key]:
                if value not in values:
                    yield Choice.of(dict(self.keys) | {key: tuple(sorted((*values, value)))})


@dataclass(frozen=True)
class Measured:
    """What an interpreter reaches on images that it was not fitted on, reading the maps of a choice."""

    choice: Choice
    channels: int
    mean_iou: float | None  # None where no class counts
    iou: tuple[float | None, ...]  # of each class

    @property
    def rank(self) -> tuple[float, int]:
        """Of two that reach the same, the one of fewer channels is better."""
        return (-math.inf if self.mean_iou is None else self.mean_iou, -self.channels)


def most(whole: Choice, joins: int) -> int:
    """How many measurements `compared` makes at most."""
    values = sum(len(values) for _, values in whole.keys)
    tried = (max(0, values - len(whole.keys) - joined) for joined in range(joins))
    return len(whole.places) + 1 + sum(tried)


def compared(whole: Choice, own: Choice, joins: int, measure: Callable[[Choice], Measured]) -> Iterator[Measured]:
    """Measure every map alone, then what the recipe has, then greedy joins: the best so far with one more value.

    It ends after so many joins, or with the first that is no better than what it joins to.
    """
    singles: list[Measured] = []
    for choice in whole.singles():
        singles.append(measure(choice))
        yield singles[-1]
    if len(own.places) > 1:
        yield measure(own)
    best = max(singles, key=lambda each: each.rank)
    for _ in range(joins):
        tried: list[Measured] = []
        for choice in best.choice.joins(whole):
            tried.append(measure(choice))
            yield tried[-1]
        better = [each for each in tried if each.rank[0] > best.rank[0]]
        if not better:
            return
        best = max(better, key=lambda each: each.rank)

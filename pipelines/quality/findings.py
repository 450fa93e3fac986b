"""What is found of a dataset, as JSON holds it and the page shows it."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from generate.stored import STRICT, Natural

NEAR = 0.15
"""Nearer images are near-duplicates: 0 is the same image, 1 what two real images are apart."""

Share = Annotated[float, Field(ge=0, le=1)]
Nearness = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Pair:
    """Two images side by side."""

    __pydantic_config__ = STRICT

    left: str
    right: str
    picture: str  # a file's name
    nearness: Nearness | None = None


@dataclass(frozen=True)
class Copies:
    """The samples against a set of images; or that set against itself, to compare with."""

    __pydantic_config__ = STRICT

    of: str  # the set
    looked_at: Natural  # images of it
    total: Natural  # images that there are
    near: Natural  # samples that are near-duplicates of one of them
    nearest: Nearness
    median: Nearness
    pairs: list[Pair] = field(default_factory=list)  # the nearest


@dataclass(frozen=True)
class Breadth:
    """Precision and recall (arXiv 1904.06991) of as many samples as real images."""

    __pydantic_config__ = STRICT

    precision: Share
    recall: Share
    compared: Natural  # samples, and as many real images
    strange: list[Pair] = field(default_factory=list)  # samples that no real image is like
    missed: list[Pair] = field(default_factory=list)  # real images that no sample is like


@dataclass(frozen=True)
class ClassShare:
    """How much there is of a class: of all pixels, and the images that hold it."""

    __pydantic_config__ = STRICT

    name: str
    pixels: Share
    annotated_pixels: Share
    images: Share
    annotated_images: Share


@dataclass(frozen=True)
class Quality:
    """All that is found of a dataset before anybody trains on it."""

    __pydantic_config__ = STRICT

    samples: Natural  # that were looked at
    total: Natural  # that the filter kept
    near: Nearness  # what counts as a near-duplicate
    copies: list[Copies]  # against the other samples first
    real: Copies | None  # real images against each other
    breadth: Breadth | None  # none: too few images
    classes: list[ClassShare]
    warnings: list[str]
    rare: list[Pair] = field(default_factory=list)  # of each class that is lacking: annotated, and the most there is


def warnings_of(quality_copies: list[Copies], samples: int) -> list[str]:
    """A sentence for each set of which samples are near-duplicates."""
    return [
        f"{copies.near:,} of {samples:,} samples {'is a' if copies.near == 1 else 'are'} near-"
        f"{'duplicate' if copies.near == 1 else 'duplicates'} of {_MEANING.get(copies.of, copies.of)}"
        for copies in quality_copies
        if copies.near
    ]


_MEANING = {
    "other samples": "other samples: a network sees the same image again",
    "annotated images": "annotated images: they add nothing to what is annotated already",
    "held-out images": "held-out images: scores on those say too much",
    "training images": "training images: the diffusion model repeats what it has seen, and so would a dataset that is "
    "given away",
    "photographs": "photographs that were not painted",
}

"""Rare classes that a dataset lacks: what is rare is labelled less surely, so that its images are the first to go."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

LACKING = 0.5  # of its share among the annotated pixels, or images: a class with less is lacking
FEWEST = 10  # images: a class in fewer is learnt from hardly anything
PRESENT = 0.0005  # of an image's pixels: a class with less of them is not in the image, but a stray pixel
TAKEN = 0.9  # of its share among all candidates: with less, the filter has a part in it
_TAKEN = 'the filter drops it; try generate.filter = "balanced", or generate.portion = 0'
_UNPAINTED = (
    "the diffusion model paints it rarely; train the model for longer, or let the network learn from the annotated "
    "images, too, by [[train.mix]]"
)
_FEW = "a network sees too little of it; ask for more samples, or mix in images that have it by [[train.mix]]"


@dataclass(frozen=True)
class ClassPixels:
    """Pixels of every class, summed over images."""

    kept: Sequence[int]
    candidates: Sequence[int]  # kept and dropped
    annotated: Sequence[int]


@dataclass(frozen=True)
class ClassImages:
    """Images that hold each class, and how many images there are."""

    kept: Sequence[int]
    annotated: Sequence[int]
    of_kept: int
    of_annotated: int


def rare(names: Sequence[str], pixels: ClassPixels, images: ClassImages) -> dict[str, str]:
    """A sentence for each class, by its name, of which there are too few pixels or, if not that, too few images."""
    return seldom(names, images) | lacking(names, pixels)


def seldom(names: Sequence[str], images: ClassImages) -> dict[str, str]:
    """A sentence for each annotated class that is in few of the images that were kept."""
    of_each = zip(names, images.kept, images.annotated, strict=True)
    return {
        name: f"{name}: in {kept} of {images.of_kept} synthetic images, in {annotated} of {images.of_annotated} "
        f"annotated: {_FEW}"
        for name, kept, annotated in of_each
        if annotated
        and images.of_kept
        and (kept < FEWEST or kept / images.of_kept < LACKING * annotated / images.of_annotated)
    }


def holding(pixels: Int[np.ndarray, "images classes"], image_pixels: int) -> list[int]:
    """How many images hold each class, a stray pixel aside."""
    return (pixels > PRESENT * image_pixels).sum(0).tolist()


def lacking(names: Sequence[str], pixels: ClassPixels) -> dict[str, str]:
    """A sentence for each class that is rare among what was kept: the filter takes it, or it is painted rarely.

    Where the diffusion model itself paints it rarely, there would be no more of it without the filter.
    """
    of_each = zip(names, *map(shares, (pixels.kept, pixels.candidates, pixels.annotated)), strict=True)
    return {
        name: f"{name}: {_percent(kept)} of the synthetic pixels, {_percent(annotated)} of the annotated: "
        + (_TAKEN if kept < TAKEN * painted else _UNPAINTED)
        for name, kept, painted, annotated in of_each
        if any(pixels.kept) and kept < LACKING * annotated
    }


def shares(pixels: Sequence[int]) -> list[float]:
    """Each class's portion of all pixels."""
    total = sum(pixels)
    return [count / total if total else 0.0 for count in pixels]


def _percent(share: float) -> str:
    """Two digits, so that what is rare is not nothing: 0.042 %, 1.5 %, 12 %."""
    return f"{100 * share:.2g} %"

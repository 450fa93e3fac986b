"""Rare classes that a dataset lacks: what is rare is labelled less surely, so that its images are the first to go."""

from collections.abc import Sequence
from dataclasses import dataclass

LACKING = 0.5  # of its share among the annotated pixels: a class with less is lacking
TAKEN = 0.9  # of its share among all candidates: with less, the filter has a part in it
_TAKEN = 'the filter drops it; try generate.filter = "balanced", or generate.portion = 0'
_UNPAINTED = (
    "the diffusion model paints it rarely; train the model for longer, or let the network learn from the annotated "
    "images, too, by [[train.mix]]"
)


@dataclass(frozen=True)
class ClassPixels:
    """Pixels of every class, summed over images."""

    kept: Sequence[int]
    candidates: Sequence[int]  # kept and dropped
    annotated: Sequence[int]


def lacking(names: Sequence[str], pixels: ClassPixels) -> list[str]:
    """A sentence for each class that is rare among what was kept: the filter takes it, or it is painted rarely.

    Where the diffusion model itself paints it rarely, there would be no more of it without the filter.
    """
    of_each = zip(names, *map(shares, (pixels.kept, pixels.candidates, pixels.annotated)), strict=True)
    return [
        f"{name}: {_percent(kept)} of the synthetic pixels, {_percent(annotated)} of the annotated: "
        + (_TAKEN if kept < TAKEN * painted else _UNPAINTED)
        for name, kept, painted, annotated in of_each
        if any(pixels.kept) and kept < LACKING * annotated
    ]


def shares(pixels: Sequence[int]) -> list[float]:
    """Each class's portion of all pixels."""
    total = sum(pixels)
    return [count / total if total else 0.0 for count in pixels]


def _percent(share: float) -> str:
    """Two digits, so that what is rare is not nothing: 0.042 %, 1.5 %, 12 %."""
    return f"{100 * share:.2g} %"

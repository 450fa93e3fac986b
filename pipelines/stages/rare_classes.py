"""Rare classes that the filter takes: what is rare is labelled less surely, so that its images are the first to go."""

from collections.abc import Sequence
from dataclasses import dataclass

LACKING = 0.5  # of its share among the annotated pixels: a class with less is lacking
TAKEN = 0.9  # of its share among all candidates: with less, the filter has a part in it


@dataclass(frozen=True)
class ClassPixels:
    """Pixels of every class, summed over images."""

    kept: Sequence[int]
    candidates: Sequence[int]  # kept and dropped
    annotated: Sequence[int]


def taken_by_filter(names: Sequence[str], pixels: ClassPixels) -> list[str]:
    """A sentence for each class that is rare among what was kept, and because of the filter.

    None for a class that the diffusion model itself paints rarely: without the filter there would be no more of it.
    """
    of_each = zip(names, *map(shares, (pixels.kept, pixels.candidates, pixels.annotated)), strict=True)
    return [
        f"{name}: {_percent(kept)} of the synthetic pixels, {_percent(annotated)} of the annotated: "
        'the filter drops it; try generate.filter = "balanced", or generate.portion = 0'
        for name, kept, painted, annotated in of_each
        if kept < LACKING * annotated and kept < TAKEN * painted
    ]


def shares(pixels: Sequence[int]) -> list[float]:
    """Each class's portion of all pixels."""
    total = sum(pixels)
    return [count / total if total else 0.0 for count in pixels]


def _percent(share: float) -> str:
    """Two digits, so that what is rare is not nothing: 0.042 %, 1.5 %, 12 %."""
    return f"{100 * share:.2g} %"

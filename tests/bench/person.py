"""The simulated person of the benchmarks of annotating: sees what is labelled wrongly, and draws a stroke there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage
from skimage.graph import MCP
from skimage.morphology import skeletonize

IGNORE = 255
Mask = UInt8[np.ndarray, "h w"]
Place = Bool[np.ndarray, "h w"]
Curve = list[tuple[int, int]]  # rows and columns, pixel after pixel


@dataclass(frozen=True)
class Stroke:
    """One pull of a brush that is a pixel wide."""

    label: int
    curve: Curve

    def draw(self, mask: Mask) -> None:
        for place in self.curve:
            mask[place] = self.label


def next_stroke(truth: Mask, suggested: Mask | None, drawn: Mask, longest: int) -> Stroke | None:
    """Along the middle of the largest region of one class that is wrong; None where nothing is.

    Wrong is what differs from the truth, but for what was drawn; where nothing is suggested yet, the classes of which
    nothing was drawn.
    """
    wrong = (drawn == IGNORE) & (suggested != truth) if suggested is not None else ~np.isin(truth, drawn)
    regions = [region for label in np.unique(truth) for region in _regions(wrong & (truth == label))]
    if not regions:
        return None
    region = max(regions, key=np.count_nonzero)
    return Stroke(int(truth[region][0]), middle(region, longest))


def middle(region: Place, longest: int) -> Curve:
    """The longest way along a region's medial line, which is one curve; at most so many pixels of its middle."""
    line = max(_regions(skeletonize(region), np.ones((3, 3))), key=np.count_nonzero)
    curve: Curve = [tuple(np.argwhere(line)[0])]
    for _ in range(2):  # from any point to the farthest, and from there to the farthest
        ways = MCP(np.where(line, 1.0, -1.0))
        costs, _ = ways.find_costs([curve[0]])
        end = np.unravel_index(np.where(line, costs, -1).argmax(), line.shape)
        curve = [(int(row), int(column)) for row, column in ways.traceback(end)][::-1]
    start = max(0, len(curve) - longest) // 2
    return curve[start : start + longest]


def _regions(place: Place, structure: Any = None) -> list[Place]:
    """Its connected parts."""
    found: Any = ndimage.label(place, structure)
    regions, count = found
    return [regions == number for number in range(1, count + 1)]


def right_regions(truth: Mask, suggested: Mask, drawn: Mask, share: float) -> list[tuple[int, int]]:
    """A point in each connected region of the suggestion of which so much is right, the largest first.

    It is the pixel that is farthest from the region's edge; regions that are drawn over already are left out.
    """
    found = [region for label in np.unique(suggested) for region in _regions(suggested == label)]
    right = [r for r in found if (suggested == truth)[r].mean() >= share and (drawn[r] == IGNORE).any()]
    return [_inside(region) for region in sorted(right, key=np.count_nonzero, reverse=True)]


def _inside(region: Place) -> tuple[int, int]:
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(region, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), region.shape)
    return int(row), int(column)

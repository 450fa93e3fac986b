"""Connected regions of a mask, and polygons that a filler of polygons turns into the same pixels again.

A polygon's corners are the centres of pixels of the region, and its edges belong to it, as OpenCV and Pillow fill it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

Polygon = Int[np.ndarray, "points 2"]  # x, y


@dataclass(frozen=True)
class Region:
    """Pixels of one value that hang together."""

    value: int
    left: int
    top: int
    pixels: Bool[np.ndarray, "h w"]  # of its box

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.pixels))

    @property
    def box(self) -> list[int]:
        """Left, top, width, height."""
        return [self.left, self.top, self.pixels.shape[1], self.pixels.shape[0]]

    def on(self, shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w"]:
        """The whole picture, 1 where it is."""
        whole = np.zeros(shape, np.uint8)
        height, width = self.pixels.shape
        whole[self.top : self.top + height, self.left : self.left + width] = self.pixels
        return whole


def regions(
    mask: UInt8[np.ndarray, "h w"], values: Sequence[int], *, connectivity: Literal[4, 8] = 8
) -> Iterator[Region]:
    """Yield the regions of these values, value by value; with 8, pixels that touch at a corner hang together."""
    for value in values:
        found, labels, boxes, _ = cv2.connectedComponentsWithStats(
            (mask == value).astype(np.uint8), connectivity=connectivity
        )
        for number in range(1, found):
            left, top, width, height = (int(edge) for edge in boxes[number, :4])
            yield Region(value, left, top, labels[top : top + height, left : left + width] == number)


def painted_outlines(mask: UInt8[np.ndarray, "h w"], values: Sequence[int]) -> list[tuple[int, Polygon]]:
    """Value and outline of each region, in the order of painting: what lies in a hole of another comes after it.

    Filled one over the other, without holes, they give the mask again where every value of it is given. The regions
    hang together by their sides: those that do by corners may cross each other, and none would lie in the other.
    """
    shapes = []
    for region in regions(mask, values, connectivity=4):
        contours, _ = cv2.findContours(region.pixels.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        outline = contours[0][:, 0]
        covered = int(filled(region.pixels.shape, [outline]).sum())
        shapes.append((covered, region.value, outline + np.array([region.left, region.top])))
    return [(value, outline) for _, value, outline in sorted(shapes, key=lambda shape: -shape[0])]


def keyholed(region: Region) -> Polygon:
    """One outline of a region with its holes, each joined to what is left of it by a cut along the region's pixels."""
    padded = np.pad(region.pixels.astype(np.uint8), 1)
    contours, tree = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = tree[0][:, 3]
    outer = next(contour[:, 0] for contour, parent in zip(contours, parents, strict=True) if parent < 0)
    holes = [contour[:, 0] for contour, parent in zip(contours, parents, strict=True) if parent >= 0]
    for hole in sorted(holes, key=lambda points: int(points[:, 0].min())):
        outer = _joined(outer, hole, padded)
    return _without_straight_points(outer) + np.array([region.left - 1, region.top - 1])


def _joined(outer: Polygon, hole: Polygon, pixels: UInt8[np.ndarray, "h w"]) -> Polygon:
    """The outline that runs to the hole from the nearest border on its left, around it and back."""
    start = int(hole[:, 0].argmin())
    x, y = hole[start]
    while pixels[y, x - 1]:
        x -= 1
    (place, *_) = np.flatnonzero((outer == (x, y)).all(axis=1))
    around = np.concatenate([np.roll(hole, -start, axis=0), hole[start : start + 1]])
    return np.concatenate([outer[: place + 1], around, outer[place:]])


def _without_straight_points(points: Polygon) -> Polygon:
    """Leave out what lies between two others on a line that is not bent."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    bent = (np.sign(before) != np.sign(after)).any(axis=1) | (np.abs(before) != np.abs(after)).any(axis=1)
    return points[bent] if bent.any() else points


def filled(shape: tuple[int, ...], polygons: Sequence[Polygon]) -> UInt8[np.ndarray, "h w"]:
    """1 in the polygons, as OpenCV fills each of them."""
    picture = np.zeros(shape, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(picture, [np.ascontiguousarray(polygon, np.int32)], (1,))
    return picture


def three_points(polygon: Polygon) -> Polygon:
    """Readers take no polygon of fewer: a pixel or a line goes back over itself."""
    return np.concatenate([polygon] + [polygon[-1:]] * (3 - len(polygon))) if len(polygon) < 3 else polygon

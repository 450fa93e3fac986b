"""What is drawn on an image, in whatever tool, and how it becomes a mask of class ids."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from label import IGNORE, AnnotationError

Pixels = Bool[np.ndarray, "h w"]
Size = tuple[int, int]
"""Height and width."""
Point = tuple[float, float]
"""x and y; the centre of the first pixel is (0.5, 0.5)."""


@dataclass(frozen=True)
class Shape:
    """A region of one class; `label` is the class's name, None where pixels are to be ignored."""

    label: str | None
    pixels: Callable[[int, int], Pixels]  # of an image so high and so wide


@dataclass(frozen=True)
class Drawn:
    """All that is drawn on one image, in the order in which it was drawn."""

    shapes: Sequence[Shape]
    size: Size | None = None  # of the image under it, where the format tells


@dataclass(frozen=True)
class Painted:
    """A mask of class ids; `overlapping` pixels were drawn as one class, and later as another."""

    mask: UInt8[np.ndarray, "h w"]
    overlapping: int = field(default=0)


def paint(drawn: Drawn, ids: Mapping[str, int], size: Size, *, unlabelled: int) -> Painted:
    """Draw the shapes one over the other: the later one wins, and what none covers is `unlabelled`.

    Raises AnnotationError for a shape of another size, or of a class that has no id.
    """
    if strange := sorted({shape.label for shape in drawn.shapes if shape.label is not None} - set(ids)):
        raise AnnotationError(f"has {_classes(strange)}; the scheme has {', '.join(ids)}")
    mask, seen, overlapping = np.full(size, unlabelled, dtype=np.uint8), np.zeros(size, dtype=bool), 0
    for shape in drawn.shapes:
        pixels = shape.pixels(*size)
        if pixels.shape != size:
            raise AnnotationError(f"holds a mask of {sides(pixels.shape)}, its image is {sides(size)}")
        number = IGNORE if shape.label is None else ids[shape.label]
        overlapping += int((seen & pixels & (mask != number)).sum())
        mask[pixels], seen = number, seen | pixels
    return Painted(mask, overlapping)


def regions(values: Integer[np.ndarray, "h w"], names: Mapping[int, str | None]) -> Drawn:
    """A mask of numbers as shapes, one for each number that occurs; what `names` calls None is unlabelled.

    Raises AnnotationError for a number without a name.
    """
    found, counts = np.unique(values, return_counts=True)
    if strange := {int(n): int(c) for n, c in zip(found, counts, strict=True) if int(n) not in names}:
        first = next(iter(strange))
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        known = [str(n) for n, name in names.items() if name is not None]
        raise AnnotationError(
            f"has the value {first}{more} in {sum(strange.values())} pixels; the classes have {known[0]} to {known[-1]}"
        )
    shapes = [Shape(names[int(n)], lambda _h, _w, n=n: values == n) for n in found if names[int(n)] is not None]
    return Drawn(shapes, (values.shape[0], values.shape[1]))


def polygon(points: Sequence[Point]) -> Callable[[int, int], Pixels]:
    """The pixels whose centre lies inside, by the even-odd rule."""
    return lambda height, width: inside([points], height, width)


def inside(rings: Sequence[Sequence[Point]], height: int, width: int) -> Pixels:
    """The pixels whose centre lies in an odd number of rings.

    Each edge flips, in the rows that it crosses, all pixels to its right.
    """
    flips = np.zeros((height, width + 1), dtype=bool)
    for ring in rings:
        for start, end in zip(ring, [*ring[1:], ring[0]], strict=True):
            (x0, y0), (x1, y1) = sorted((start, end), key=lambda point: point[1])
            first, last = (int(np.clip(np.ceil(y - 0.5), 0, height)) for y in (y0, y1))
            if first < last:
                rows = np.arange(first, last)
                crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                flips[rows, np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)] ^= True
    return np.logical_xor.accumulate(flips, axis=1)[:, :width]


def ellipse(center: Point, radii: Point, degrees: float = 0.0) -> Callable[[int, int], Pixels]:
    """The pixels whose centre lies inside; turned clockwise around its centre."""

    def pixels(height: int, width: int) -> Pixels:
        y, x = np.mgrid[:height, :width] + 0.5
        turn = np.deg2rad(degrees)
        across, down = x - center[0], y - center[1]
        along = (across * np.cos(turn) + down * np.sin(turn)) / max(radii[0], 1e-9)
        beside = (down * np.cos(turn) - across * np.sin(turn)) / max(radii[1], 1e-9)
        return along**2 + beside**2 <= 1

    return pixels


def rectangle(corner: Point, sides: Point, degrees: float = 0.0, *, pivot: Point | None = None) -> list[Point]:
    """Its four corners, turned clockwise around `pivot`, or else around its centre."""
    (x, y), (wide, high) = corner, sides
    turn_x, turn_y = pivot or (x + wide / 2, y + high / 2)
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    corners = [(x, y), (x + wide, y), (x + wide, y + high), (x, y + high)]
    turned = [
        (turn_x + (px - turn_x) * cos - (py - turn_y) * sin, turn_y + (px - turn_x) * sin + (py - turn_y) * cos)
        for px, py in corners
    ]
    return [(float(px), float(py)) for px, py in turned] if degrees else corners


def patch(part: Pixels, top: int, left: int) -> Callable[[int, int], Pixels]:
    """A mask that was stored as its bounding box alone; what lies outside of the image is cut off."""

    def pixels(height: int, width: int) -> Pixels:
        whole = np.zeros((height, width), dtype=bool)
        rows = slice(max(0, -top), max(0, min(part.shape[0], height - top)))
        columns = slice(max(0, -left), max(0, min(part.shape[1], width - left)))
        cut = part[rows, columns]
        y, x = max(0, top), max(0, left)
        whole[y : y + cut.shape[0], x : x + cut.shape[1]] = cut
        return whole

    return pixels


def runs(counts: Sequence[int], height: int, width: int) -> Pixels:
    """Run lengths, row by row, the first of pixels outside. Raises AnnotationError where they do not fill the box."""
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise AnnotationError(f"has run lengths of {sum(counts)} pixels, not of {height * width}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)


def sides(size: Sequence[int]) -> str:
    """As people say it: width x height."""
    return "x".join(map(str, reversed(size)))


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"the class {shown}" if len(names) == 1 else f"the classes {shown}"

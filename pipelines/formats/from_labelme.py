"""LabelMe: a JSON beside each image, with polygons, rectangles, circles and masks."""

import base64
import binascii
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path, PureWindowsPath

import numpy as np
from PIL import Image, ImageDraw
from pydantic import BaseModel, Field, FiniteFloat

from label import AnnotationError
from pipelines.formats.drawing import Drawn, Pixels, Shape, patch
from pipelines.formats.files import Source, read_model
from pipelines.formats.picture import Contents, Opened, Picture, Places, open_bytes, open_file

_IGNORED = "__ignore__"  # LabelMe's name for pixels of no class
_POINTS = {"rectangle": (2,), "circle": (2,), "oriented_rectangle": (4,), "mask": (2,)}
_WITHOUT_AREA = ("line", "linestrip", "point", "points")


class _Shape(BaseModel):
    label: str
    points: list[tuple[FiniteFloat, FiniteFloat]]
    shape_type: str | None = "polygon"
    mask: str | None = None


class _File(BaseModel):
    shapes: list[_Shape]
    imagePath: str
    imageData: str | None = None
    imageHeight: int | None = Field(None, gt=0)
    imageWidth: int | None = Field(None, gt=0)


def read_labelme(source: Source) -> Contents:
    """All JSON files of the folder and below it."""
    paths, mistakes, pictures = source.files("json"), [], []
    labels, skipped = set[str](), Counter[str]()
    for path in paths:
        try:
            file = read_model(path, _File, "a file of LabelMe's")
        except AnnotationError as error:
            mistakes.append(f"{source.name(path)} {error}")
            continue
        labels |= {shape.label for shape in file.shapes if shape.label != _IGNORED}
        skipped.update(shape.shape_type or "" for shape in file.shapes if shape.shape_type in _WITHOUT_AREA)
        pictures.append(_picture(source, path, file))
    notes = [f"{sum(skipped.values())} shapes without area are left out: {', '.join(sorted(skipped))}"]
    return Contents(pictures, sorted(labels), mistakes=mistakes, notes=notes if skipped else [])


def _picture(source: Source, path: Path, file: _File) -> Picture:
    beside = Places([path.parent, *source.image_folders])
    name = PureWindowsPath(file.imagePath).as_posix()
    return Picture(source.name(path), name, partial(_image, file, beside), partial(_drawn, file))


def _image(file: _File, places: Places) -> Opened:
    """The file, or what the JSON holds of it."""
    try:
        return open_file(places.find(file.imagePath))
    except AnnotationError:
        if not file.imageData:
            raise
        return open_bytes(_decoded(file.imageData))


def _drawn(file: _File) -> Drawn:
    shapes = [
        Shape(None if shape.label == _IGNORED else shape.label, _pixels(number, shape))
        for number, shape in enumerate(file.shapes)
        if shape.shape_type not in _WITHOUT_AREA
    ]
    size = (file.imageHeight, file.imageWidth) if file.imageHeight and file.imageWidth else None
    return Drawn(shapes, size)


def _pixels(number: int, shape: _Shape) -> Callable[[int, int], Pixels]:
    kind, points = shape.shape_type or "polygon", shape.points
    if kind != "polygon" and kind not in _POINTS:
        raise AnnotationError(f"has shape {number} of the type {kind}; {', '.join(('polygon', *_POINTS))} are read")
    if len(points) < 3 if kind == "polygon" else len(points) not in _POINTS[kind]:
        raise AnnotationError(f"has shape {number} ({shape.label}), a {kind} of {len(points)} points")
    if kind == "mask":
        return _mask(number, shape)
    return partial(_painted, kind, points)


def _painted(kind: str, points: list[tuple[float, float]], height: int, width: int) -> Pixels:
    """As LabelMe's own converters do it: with Pillow, the outline included."""
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    if kind == "circle":
        (x, y), on_it = points
        radius = math.dist((x, y), on_it)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = points
        draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), outline=1, fill=1)
    else:
        draw.polygon(points, outline=1, fill=1)
    return np.asarray(image)


def _mask(number: int, shape: _Shape) -> Callable[[int, int], Pixels]:
    """A PNG of the box between its two points, both included."""
    (x0, y0), (x1, y1) = [(int(x), int(y)) for x, y in shape.points]
    part = open_bytes(_decoded(shape.mask or "")).pixels[..., 0] > 0
    if part.shape != (y1 - y0 + 1, x1 - x0 + 1):
        high, wide = part.shape
        raise AnnotationError(
            f"has shape {number} ({shape.label}), a mask of {wide}x{high} in a box of {x1 - x0 + 1}x{y1 - y0 + 1}"
        )
    return patch(part, y0, x0)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise AnnotationError("holds an image that is no base64") from error

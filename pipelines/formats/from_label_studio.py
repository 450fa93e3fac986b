"""Label Studio's JSON: brush strokes, polygons, rectangles and ellipses, in per cent of the image."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from generate import IMAGE_SUFFIXES
from label import AnnotationError
from pipelines.formats.drawing import Drawn, Pixels, Shape, ellipse, polygon, rectangle
from pipelines.formats.files import Source, library, read_model
from pipelines.formats.picture import Contents, Opened, Picture, Places, open_file

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


class _Value(BaseModel):
    model_config = ConfigDict(extra="allow")  # the labels, under the name of their tag's type
    rle: list[int] | None = None
    points: list[tuple[FiniteFloat, FiniteFloat]] | None = None
    x: FiniteFloat = 0.0
    y: FiniteFloat = 0.0
    width: FiniteFloat | None = None
    height: FiniteFloat | None = None
    radiusX: FiniteFloat | None = None
    radiusY: FiniteFloat | None = None
    rotation: FiniteFloat = 0.0


class _Result(BaseModel):
    id: str | int = "?"
    type: str
    value: _Value = _Value()  # a relation has none
    original_width: int | None = Field(None, gt=0)
    original_height: int | None = Field(None, gt=0)
    image_rotation: float | None = 0

    @property
    def labels(self) -> list[str]:
        found = (self.value.model_extra or {}).get(self.type.lower(), [])
        return [str(label) for label in found] if isinstance(found, list) else []

    @property
    def is_region(self) -> bool:
        value = self.value
        is_box = value.width is not None and value.height is not None  # a key point has a width alone
        return value.rle is not None or bool(value.points) or is_box or value.radiusX is not None


class _Annotation(BaseModel):
    result: list[_Result]
    was_cancelled: bool = False


class _Task(BaseModel):
    id: int | str = "?"
    data: dict[str, object]
    annotations: list[_Annotation]

    @property
    def used(self) -> list[_Annotation]:
        return [annotation for annotation in self.annotations if not annotation.was_cancelled]


def read_label_studio(source: Source) -> Contents:
    """The export that Label Studio calls JSON; of a task, the first annotation that was not cancelled."""
    path = source.only_file("json")
    try:
        tasks: list[_Task] = read_model(path, list[_Task], "Label Studio's JSON (JSON-MIN is not read)")
    except AnnotationError as error:
        raise AnnotationError(f"{path} {error}") from error
    places, pictures, mistakes, labels = Places(source.image_folders), [], [], set[str]()
    for task in tasks:
        file = f"{path.name}, task {task.id},"
        if not task.used or not task.used[0].result:
            continue
        if not (place := _place(task)):
            mistakes.append(f"{file} names no image")
            continue
        regions = [result for result in task.used[0].result if result.is_region and result.labels]
        labels |= {label for region in regions for label in region.labels}
        image = partial(_image, places, place)
        pictures.append(Picture(file, _UPLOADED.sub("", PurePosixPath(place).name), image, partial(_drawn, regions)))
    return Contents(pictures, sorted(labels), mistakes=mistakes, notes=list(_notes(tasks)))


def _notes(tasks: list[_Task]) -> Iterator[str]:
    if bare := sum(not task.used or not task.used[0].result for task in tasks):
        yield f"tasks without an annotation are left out: {bare}"
    if several := [str(task.id) for task in tasks if len(task.used) > 1]:
        yield f"tasks with several annotations, of which the first is read: {', '.join(several[:5])}"
    results = [result for task in tasks if task.used for result in task.used[0].result]
    labelled = {result.id for result in results if result.labels}
    skipped = Counter(result.type for result in results if result.id not in labelled or not result.is_region)
    if skipped := {kind: count for kind, count in skipped.items() if count}:
        yield f"results that are no labelled regions are left out: {', '.join(sorted(skipped))}"


def _place(task: _Task) -> str:
    """The image's path in the task, out of whatever URL; "" where there is none."""
    texts = [text for text in (task.data.get("image"), *task.data.values()) if isinstance(text, str)]
    for text in texts:
        parts = urlsplit(text)
        path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]  # /data/local-files/?d=a.png
        if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES:
            return path
    return ""


def _image(places: Places, place: str) -> Opened:
    """Under the name that it was uploaded with, or that Label Studio gave it."""
    name = PurePosixPath(place).name
    for tried in (name, _UPLOADED.sub("", name)):
        try:
            return open_file(places.find(tried))
        except AnnotationError:
            if tried == _UPLOADED.sub("", name):
                raise
    raise AssertionError("the last try returns or raises")


def _drawn(regions: list[_Result]) -> Drawn:
    sizes = {(region.original_height, region.original_width) for region in regions} - {(None, None)}
    if len(sizes) > 1:
        raise AnnotationError("has regions of several image sizes")
    if turned := next((region for region in regions if region.image_rotation), None):
        raise AnnotationError(f"has the image turned by {turned.image_rotation:g} degrees; turn it back there")
    shapes = [Shape(label, _pixels(region)) for region in regions for label in region.labels]
    height, width = next(iter(sizes), (None, None))
    return Drawn(shapes, (height, width) if height and width else None)


def _pixels(region: _Result) -> Callable[[int, int], Pixels]:
    value = region.value
    if value.rle is not None:
        return partial(_brush, region)
    if value.points and len(value.points) < 3:
        raise AnnotationError(f"has region {region.id}, a polygon of {len(value.points)} points")
    return partial(_outline, value)


def _outline(value: _Value, height: int, width: int) -> Pixels:
    """Per cent of the sides become pixels first: a turned rectangle is one of pixels, turned at its first corner."""
    across, down = width / 100, height / 100
    if value.points:
        points = [(x * across, y * down) for x, y in value.points]
    elif value.radiusX is not None:
        radii = (value.radiusX * across, (value.radiusY or 0.0) * down)
        return ellipse((value.x * across, value.y * down), radii, value.rotation)(height, width)
    else:
        corner = (value.x * across, value.y * down)
        size = ((value.width or 0.0) * across, (value.height or 0.0) * down)
        points = rectangle(corner, size, value.rotation, pivot=corner)
    return polygon(points)(height, width)


def _brush(region: _Result, height: int, width: int) -> Pixels:
    """Run lengths of red, green, blue and opacity, bit-packed: not those of COCO."""
    brush = library("label_studio_sdk.converter.brush", "label-studio", "a brush stroke of Label Studio")
    rle = region.value.rle or []
    try:
        if int.from_bytes(bytes(rle[:4])) != height * width * 4:
            raise ValueError("another size")
        pixels = brush.decode_rle(rle)
    except (ValueError, IndexError, OverflowError) as error:
        raise AnnotationError(
            f"has region {region.id}, a brush stroke that is damaged, or not of an image of {width}x{height}"
        ) from error
    return np.reshape(pixels, (height, width, 4))[..., 3] > 0

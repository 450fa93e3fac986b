"""COCO: one JSON of many images, with polygons and run lengths, drawn as pycocotools draws them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat

from label import AnnotationError
from pipelines.formats.drawing import Drawn, Pixels, Shape, runs
from pipelines.formats.files import Source, library, read_model
from pipelines.formats.picture import Contents, Picture, Places, open_file

_FAR = 2  # sides of an image: a point that is farther outside is a mistake


class _Rle(BaseModel):
    size: tuple[int, int]
    counts: str | list[int]


class _Image(BaseModel):
    id: int | str
    file_name: str
    height: int = Field(gt=0)
    width: int = Field(gt=0)


class _Category(BaseModel):
    id: int
    name: str


class _Annotation(BaseModel):
    id: int | str = "?"
    image_id: int | str
    category_id: int
    segmentation: list[list[FiniteFloat]] | _Rle | None = None
    iscrowd: int = 0


class _File(BaseModel):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


def read_coco(source: Source) -> Contents:
    """The JSON, or the only one of a folder. Crowds are drawn first, so that single things lie over them."""
    path = source.only_file("json")
    try:
        file = read_model(path, _File, "a file of COCO's")
    except AnnotationError as error:
        raise AnnotationError(f"{path} {error}") from error
    coco, names = library("pycocotools.mask", "coco", "COCO"), _names(file)
    drawn: defaultdict[int | str, list[_Annotation]] = defaultdict(list)
    for annotation in sorted(file.annotations, key=lambda annotation: not annotation.iscrowd):
        if annotation.segmentation:
            drawn[annotation.image_id].append(annotation)
    places = Places([*source.image_folders, path.parent.parent / "images", path.parent.parent])
    pictures = [
        Picture(
            f"{path.name}, image {image.id},",
            image.file_name,
            lambda image=image: open_file(places.find(image.file_name)),
            partial(_drawn, coco, image, drawn[image.id], names),
        )
        for image in file.images
        if image.id in drawn
    ]
    return Contents(pictures, list(names.values()), mistakes=list(_mistakes(file)), notes=list(_notes(file, drawn)))


def _names(file: _File) -> dict[int, str]:
    """By id, which begin at 1 in COCO's own files and anywhere in others."""
    return {category.id: category.name for category in sorted(file.categories, key=lambda category: category.id)}


def _mistakes(file: _File) -> Iterator[str]:
    images, categories = {image.id for image in file.images}, {category.id for category in file.categories}
    for what, rows in (("images", file.images), ("categories", file.categories)):
        if several := [str(number) for number, count in Counter(row.id for row in rows).items() if count > 1]:
            yield f"{what} share the id {', '.join(several[:5])}"
    for annotation in file.annotations:
        if annotation.image_id not in images:
            yield f"annotation {annotation.id} is of image {annotation.image_id}, which the file does not list"
        if annotation.category_id not in categories:
            yield f"annotation {annotation.id} is of category {annotation.category_id}, which the file does not list"


def _notes(file: _File, drawn: defaultdict[int | str, list[_Annotation]]) -> Iterator[str]:
    if without := sum(not annotation.segmentation for annotation in file.annotations):
        yield f"annotations without a segmentation are left out: {without}"
    if bare := [image.file_name for image in file.images if not drawn.get(image.id)]:
        yield f"images without an annotation are left out: {len(bare)}, {bare[0]} first"


def _drawn(coco: ModuleType, image: _Image, annotations: list[_Annotation], names: dict[int, str]) -> Drawn:
    size = (image.height, image.width)
    shapes = [
        Shape(names[annotation.category_id], _pixels(coco, annotation, size))
        for annotation in annotations
        if annotation.category_id in names
    ]
    return Drawn(shapes, size)


def _pixels(coco: ModuleType, annotation: _Annotation, size: tuple[int, int]) -> Callable[[int, int], Pixels]:
    segmentation = annotation.segmentation
    if isinstance(segmentation, list):
        rings = [_ring(annotation, ring, size) for ring in segmentation]
        return lambda height, width: coco.decode(coco.merge(coco.frPyObjects(rings, height, width))) > 0
    assert segmentation is not None
    height, width = segmentation.size
    try:
        counts = segmentation.counts if isinstance(segmentation.counts, list) else lengths(segmentation.counts)
        columns = runs(counts, width, height)  # COCO counts down the columns
    except AnnotationError as error:
        raise AnnotationError(f"has annotation {annotation.id}, which {error}") from error
    return lambda _height, _width: columns.T


def lengths(text: str) -> list[int]:
    """COCO's compressed run lengths: five bits a character, from the fourth length on less the last but one.

    pycocotools reads them as well, and where they are too few, it gives what was in the memory.
    """
    counts: list[int] = []
    value = shift = 0
    for bits in (ord(character) - 48 for character in text):
        if not 0 <= bits < 64:
            raise AnnotationError("has damaged run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise AnnotationError("has run lengths that are cut short")
    return counts


def _ring(annotation: _Annotation, ring: list[float], size: tuple[int, int]) -> list[float]:
    """x, y, x, y and so on; COCO's own code would read four numbers as a box."""
    if len(ring) < 6 or len(ring) % 2:
        raise AnnotationError(f"has annotation {annotation.id} with a polygon of {len(ring)} numbers")
    across, down = np.array(ring).reshape(-1, 2).T
    for values, side in ((across, size[1]), (down, size[0])):
        if values.min() < -_FAR * side or values.max() > (1 + _FAR) * side:
            raise AnnotationError(f"has annotation {annotation.id} with a polygon far outside of the image")
    return ring

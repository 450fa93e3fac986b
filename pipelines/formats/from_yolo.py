"""YOLO segmentation: a text file beside each image, with a line of class and polygon for each thing."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw

from label import AnnotationError
from pipelines.formats.drawing import Drawn, Pixels, Shape
from pipelines.formats.files import Source
from pipelines.formats.picture import Contents, Picture, images_below, open_file

_LABELS = "labels"


def read_yolo(source: Source) -> Contents:
    """data.yaml names the classes; texts lie below labels/, images below images/. An empty text is all background."""
    names = _names(source)
    texts = sorted(path for path in source.folder.rglob("*.txt") if _LABELS in path.relative_to(source.folder).parts)
    if not texts:
        raise AnnotationError(f"{source.folder} has no .txt files in a folder {_LABELS}/; annotations are needed there")
    pictures, mistakes, used = [], [], set[Path]()
    for text in texts:
        images = _images(source, text)
        used.update(images)
        if len(images) == 1:
            file, place = source.name(text), images[0]
            pictures.append(
                Picture(file, source_name(source, place), partial(open_file, place), partial(_drawn, text, names))
            )
        elif images:
            mistakes.append(f"{source.name(text)} may be of {' and '.join(path.name for path in images)}; remove one")
        else:
            mistakes.append(f"{source.name(text)} has no image; expected {text.stem}.jpg or .png")
    rest = [path for folder in {text.parent for text in texts} for path in _beside(source, folder) if path not in used]
    notes = [f"images without a text are left out: {len(rest)}, {rest[0].name} first"] if rest else []
    return Contents(pictures, list(names.values()), mistakes=mistakes, notes=notes)


def source_name(source: Source, place: Path) -> str:
    return place.relative_to(source.folder).as_posix() if place.is_relative_to(source.folder) else place.name


def _names(source: Source) -> dict[int, str]:
    """By number, from the file that Ultralytics calls data.yaml."""
    found = (
        [source.path] if source.path.is_file() else sorted([*source.path.glob("*.yaml"), *source.path.glob("*.yml")])
    )
    if len(found) != 1:
        raise AnnotationError(f"{source.path} holds {len(found)} .yaml files; one, data.yaml, names the classes")
    try:
        content = yaml.safe_load(found[0].read_text("utf-8"))
        names = content["names"]
        rows = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(name) for number, name in rows}
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise AnnotationError(f"{found[0]} names no classes; it needs names: [car, tree]") from error


def _beside(source: Source, folder: Path) -> list[Path]:
    """The images of a folder of texts: the same path, in which labels/ is called images/."""
    inner = folder.relative_to(source.folder).parts
    last = len(inner) - 1 - inner[::-1].index(_LABELS)
    folders = [source.folder.joinpath(*inner[:last], "images", *inner[last + 1 :])]
    if source.images:
        folders = [source.images.joinpath(*inner[last + 1 :]), source.images]
    place = next((folder for folder in folders if folder.is_dir()), None)
    return [path for path in images_below(place) if path.parent == place] if place else []


def _images(source: Source, text: Path) -> list[Path]:
    return [path for path in _beside(source, text.parent) if path.stem == text.stem]


def _drawn(text: Path, names: dict[int, str]) -> Drawn:
    try:
        lines = text.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise AnnotationError("is no text") from error
    return Drawn([_shape(number, line.split(), names) for number, line in enumerate(lines, 1) if line.strip()])


def _shape(number: int, words: list[str], names: dict[int, str]) -> Shape:
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise AnnotationError(f"has a line {number} that is no numbers") from error
    if len(values) == 5:
        raise AnnotationError(f"has a box in line {number}; polygons are needed, class x y x y x y")
    if len(values) < 7 or len(values) % 2 == 0:
        raise AnnotationError(f"has {len(values)} numbers in line {number}; a polygon is class x y x y x y")
    if not all(-0.01 <= value <= 1.01 for value in values[1:]):
        raise AnnotationError(f"has a point outside of the image in line {number}; coordinates are shares, 0 to 1")
    if values[0] not in names:
        raise AnnotationError(f"has the class {words[0]} in line {number}; data.yaml has {min(names)} to {max(names)}")
    return Shape(names[int(values[0])], _filled(values[1:]))


def _filled(values: list[float]) -> Callable[[int, int], Pixels]:
    """As those who train on them fill them: corners are whole pixels, and the outline belongs to it."""

    def pixels(height: int, width: int) -> Pixels:
        corners = np.rint(np.array(values).reshape(-1, 2) * (width, height)).astype(int)
        image = Image.new("1", (width, height))
        ImageDraw.Draw(image).polygon([(int(x), int(y)) for x, y in corners], outline=1, fill=1)
        return np.asarray(image)

    return pixels

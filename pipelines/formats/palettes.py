"""Masks whose files hold class numbers, or the classes' colours, as a table names them."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from generate import ImageError
from label import AnnotationError, Scheme
from label.masks import StoredMask, read_mask
from pipelines.formats.drawing import Drawn, regions

Color = tuple[int, int, int]


def stored_mask(path: Path) -> StoredMask:
    """Raises ImageError for a file that is damaged, no image, or blurred as a JPEG is."""
    try:
        mask = read_mask(path)
    except AnnotationError as error:
        raise ImageError(str(error)) from error
    if mask.lossy:
        raise ImageError(f"{path.name} is a JPEG, which blurs class ids and colours alike; save the mask as PNG")
    return mask


def numbers(path: Path) -> Integer[np.ndarray, "h w"]:
    """The class numbers of a grey or palette image. Raises ImageError for one in colour."""
    mask = stored_mask(path)
    if mask.holds == "colors":
        raise ImageError(f"{path.name} is in colour; a grey or palette image is needed, or import it as colours")
    return mask.values


def colored(path: Path, names: Mapping[Color, str | None], table: str) -> Drawn:
    """A mask in the colours of a table; what is transparent, or of a colour called None, is unlabelled.

    Raises AnnotationError for a colour that the table does not have.
    """
    mask = stored_mask(path)
    if not mask.colors:
        raise AnnotationError(f"has no colours but numbers of 16 bits; a picture in the colours of {table} is needed")
    known: dict[int, str | None] = {}
    strange = {}
    for value, (*color, opacity) in mask.colors.items():
        if opacity and tuple(color) not in names:
            strange[value] = color
        known[value] = names.get((color[0], color[1], color[2])) if opacity else None
    if strange:
        pixels = int(np.isin(mask.values, list(strange)).sum())
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        first = next(iter(strange.values()))
        raise AnnotationError(f"has the colour {first}{more}, which {table} does not have, in {pixels} pixels")
    return regions(mask.values, known)


def label_map(path: Path) -> dict[str, Color]:
    """CVAT's labelmap.txt: a line `name:r,g,b:parts:actions` for each class. Raises AnnotationError."""
    if not path.is_file():
        raise AnnotationError(f"{path} is missing; it has a line for each class, name:red,green,blue::")
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
        rows = [line.rsplit(":", 3) for line in lines]
        return _table(path, [(row[0], row[1].split(",")) for row in rows])
    except (IndexError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} is no label map; it has a line for each class, name:red,green,blue::") from error


def color_table(path: Path) -> dict[str, Color]:
    """A table in CSV: name, red, green, blue; with or without a first line of headings. Raises AnnotationError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path} is no table; it has name,red,green,blue in each line") from error
    if rows and not any(cell.isdigit() for cell in rows[0]):
        rows = rows[1:]
    return _table(path, [(row[0], row[1:]) for row in rows])


def table_of(scheme: Scheme) -> dict[str, Color]:
    return dict(zip(scheme.names, scheme.colors, strict=True))


def _table(path: Path, rows: list[tuple[str, list[str]]]) -> dict[str, Color]:
    table: dict[str, Color] = {}
    for name, cells in rows:
        channels = [int(cell) for cell in cells if cell.strip().isdecimal()]
        if len(cells) != 3 or len(channels) != 3 or max(channels) > 255:
            raise AnnotationError(f"{path}: {name} has the colour {','.join(cells)}; red,green,blue are 0 to 255")
        color = (channels[0], channels[1], channels[2])
        if name in table or color in table.values():
            raise AnnotationError(f"{path}: {name}, or its colour {','.join(cells)}, is there twice")
        table[name] = color
    if not table:
        raise AnnotationError(f"{path} names no classes")
    return table

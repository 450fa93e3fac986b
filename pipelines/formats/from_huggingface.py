"""A dataset of Hugging Face's: a folder of save_to_disk, one of Parquet files, or an id of the Hub."""

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from generate.identity import HUB_ID
from label import IGNORE, AnnotationError
from pipelines.formats.drawing import Drawn, regions
from pipelines.formats.files import Source, library
from pipelines.formats.picture import Contents, Opened, Picture, open_bytes

_OF_IMAGES = ("image", "pixel_values", "img", "photo", "scene")
_OF_MASKS = ("mask", "label", "annotation", "segmentation_mask", "segmentation", "labels", "semantic_segmentation")
_DEEP = ("I", "I;16", "L", "P", "1")


def read_huggingface(source: Source) -> Contents:
    """Columns of images, or --columns image,mask; of splits, --split, or else the only one. 255 is unlabelled."""
    library("datasets", "huggingface", "a dataset of Hugging Face's")
    rows = _one_split(source, _opened(source))
    image, mask = _columns(source, rows)
    rows = _raw(rows, image, mask)
    names = list(source.scheme.names) if source.scheme else _counted(rows, mask)
    table = {**dict(enumerate(names)), IGNORE: None}
    pictures = [
        Picture(
            f"row {row}",
            _name(rows, image, row),
            partial(_image, rows, image, row),
            partial(_drawn, rows, mask, row, table),
        )
        for row in range(len(rows))
    ]
    return Contents(pictures, names)


def _opened(source: Source) -> Any:
    """As `datasets` opens it: by what lies in the folder."""
    import datasets
    from datasets.exceptions import DatasetsError

    place = Path(source.place)
    datasets.disable_progress_bars()
    is_id = HUB_ID.fullmatch(source.place) and not source.place.startswith((".", "~"))
    try:
        if is_id and not place.exists():
            return datasets.load_dataset(source.place)
        if (source.path / "dataset_dict.json").is_file() or (place / "state.json").is_file():
            return datasets.load_from_disk(source.place)
        if parquet := source.files("parquet"):
            splits = _splits(parquet)
            return datasets.load_dataset("parquet", data_files=splits)
    except AnnotationError:
        raise
    except (OSError, ValueError, DatasetsError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise AnnotationError(f"{source.place} is no dataset that can be opened: {reason}") from error
    raise AssertionError("files() raises where there are none")


def _splits(paths: list[Path]) -> dict[str, list[str]]:
    """By the word before the first dash, as the Hub names them: train-00000-of-00002.parquet."""
    splits: dict[str, list[str]] = {}
    for path in paths:
        splits.setdefault(path.stem.partition("-")[0].replace(".", "_"), []).append(str(path))
    return splits


def _one_split(source: Source, opened: Any) -> Any:
    if not isinstance(opened, dict):
        return opened
    wanted = source.option("split") or (next(iter(opened)) if len(opened) == 1 else "")
    if wanted not in opened:
        raise AnnotationError(f"{source.place} has the splits {', '.join(opened)}; --split names one of them")
    return opened[wanted]


def _columns(source: Source, rows: Any) -> tuple[str, str]:
    """The names of the columns of images and of masks."""
    import datasets

    found = [name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    if wanted := source.option("columns"):
        image, _, mask = (word.strip() for word in wanted.partition(","))
        if image not in found or mask not in found:
            raise AnnotationError(f"--columns {wanted}: {source.place} has the image columns {', '.join(found)}")
        return image, mask
    image = next((name for name in _OF_IMAGES if name in found), "")
    mask = next((name for name in _OF_MASKS if name in found), "")
    if not image or not mask:
        has = f"the image columns {', '.join(found)}" if found else "no column of images"
        raise AnnotationError(f"{source.place} has {has}; --columns IMAGE,MASK names the two")
    return image, mask


def _raw(rows: Any, *columns: str) -> Any:
    """The two columns alone, as the bytes that are stored."""
    import datasets

    rows = rows.select_columns(list(columns))
    for column in columns:
        rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


def _bytes(rows: Any, column: str, row: int) -> bytes:
    cell = rows[row][column]
    if cell is None:
        raise AnnotationError(f"has no {column}")
    try:
        return cell["bytes"] or Path(cell["path"]).read_bytes()
    except (OSError, TypeError) as error:
        raise AnnotationError(f"has a {column} whose file is missing: {cell['path']}") from error


def _name(rows: Any, column: str, row: int) -> str:
    """The image's own file name, where it is kept; or else the row's number."""
    path = (rows[row][column] or {}).get("path")
    return Path(path).name if path else f"{row:04d}.png"


def _image(rows: Any, column: str, row: int) -> Opened:
    return open_bytes(_bytes(rows, column, row))


def _mask(rows: Any, column: str, row: int) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(_bytes(rows, column, row))) as image:
            if image.mode not in _DEEP:
                raise AnnotationError(f"has a {column} of mode {image.mode}; class ids are needed, grey or palette")
            return np.asarray(image).astype(np.int64)
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(f"has a {column} that is no image that can be read") from error


def _drawn(rows: Any, column: str, row: int, table: dict[int, str | None]) -> Drawn:
    return regions(_mask(rows, column, row), table)


def _counted(rows: Any, column: str) -> list[str]:
    """Without a scheme the classes are called by their numbers, up to the highest."""
    highest = max((int(values.max(initial=0)) for values in _ids(rows, column)), default=0)
    return [f"class {number}" for number in range(highest + 1)]


def _ids(rows: Any, column: str) -> Iterator[np.ndarray]:
    """A mask that cannot be read is told of later."""
    for row in range(len(rows)):
        try:
            mask = _mask(rows, column, row)
        except AnnotationError:
            continue
        yield mask[mask != IGNORE]

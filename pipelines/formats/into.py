"""In: annotations of another tool become a folder that `fit` reads."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from label import AnnotationError, Scheme
from pipelines.errors import DatasetError
from pipelines.formats.annotated_folder import BACKGROUND, IGNORED, SCHEME, write_annotated
from pipelines.formats.files import Source
from pipelines.formats.from_binary import read_binary
from pipelines.formats.from_coco import read_coco
from pipelines.formats.from_colours import read_colours
from pipelines.formats.from_cvat import read_cvat, read_cvat_masks
from pipelines.formats.from_huggingface import read_huggingface
from pipelines.formats.from_label_studio import read_label_studio
from pipelines.formats.from_labelme import read_labelme
from pipelines.formats.from_voc import read_voc
from pipelines.formats.from_yolo import read_yolo
from pipelines.formats.picture import Contents
from pipelines.progress import console
from pipelines.record import Outcome


@dataclass(frozen=True)
class Reader:
    """How a format is read, and what its unlabelled pixels mean."""

    read: Callable[[Source], Contents]
    unlabelled: str
    options: tuple[str, ...] = ()


READERS = {
    "labelme": Reader(read_labelme, BACKGROUND),
    "coco": Reader(read_coco, BACKGROUND),
    "label-studio": Reader(read_label_studio, IGNORED),
    "cvat": Reader(read_cvat, BACKGROUND),
    "cvat-masks": Reader(read_cvat_masks, BACKGROUND),
    "voc": Reader(read_voc, IGNORED),
    "colours": Reader(read_colours, IGNORED),
    "yolo": Reader(read_yolo, BACKGROUND),
    "binary": Reader(read_binary, BACKGROUND),
    "huggingface": Reader(read_huggingface, IGNORED, ("columns", "split")),
}


def import_annotations(
    format_name: str,
    place: str,
    out: Path,
    *,
    scheme: Path | None = None,
    images: Path | None = None,
    unlabelled: str | None = None,
    options: dict[str, str] | None = None,
) -> Outcome:
    """Write `out`: NAME.png and NAME.mask.png for each image, and scheme.toml.

    A scheme.toml that lies in `out` already is the scheme. Raises AnnotationError with all mistakes of the source,
    after which nothing is written.
    """
    start, reader = time.perf_counter(), _reader(format_name, options or {})
    if images and not images.is_dir():
        raise AnnotationError(f"{images} is no folder; --images names the folder of the images")
    own = scheme or (out / SCHEME if (out / SCHEME).is_file() else None)
    source = Source(place, images, own and Scheme.load(own), tuple((options or {}).items()))
    contents = reader.read(source)
    written = write_annotated(contents, place, out, source.scheme, unlabelled or reader.unlabelled)
    for note in written.notes:
        console.print(f"import: {note}", markup=False)
    clause = f"{written.images} annotated images of {len(written.scheme)} classes"
    return Outcome(clause, out, time.perf_counter() - start, fresh=True)


def _reader(format_name: str, options: dict[str, str]) -> Reader:
    if format_name not in READERS:
        raise DatasetError(f"{format_name} is no format that is read; npz, {', '.join(READERS)} are")
    reader = READERS[format_name]
    if strange := sorted(set(options) - set(reader.options)):
        raise DatasetError(f"--{strange[0]} says nothing of {format_name}; leave it out")
    return reader

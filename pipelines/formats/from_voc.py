"""Pascal VOC and mmsegmentation: images in one folder, in another masks whose numbers are classes."""

from functools import partial
from pathlib import Path

import numpy as np

from generate import ImageError
from label import IGNORE
from pipelines.formats.drawing import Drawn, regions
from pipelines.formats.files import IMAGES, MASKS, Source
from pipelines.formats.palettes import label_map, numbers
from pipelines.formats.picture import Contents, Picture, by_stem, open_file

_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def read_voc(source: Source) -> Contents:
    """Masks with the images of their stem; 255 is unlabelled. Without names, classes are called by number."""
    masks = source.one_of(MASKS, "masks")
    images = source.images or source.one_of(IMAGES, "images; or --images names it")
    pairs, mistakes, rest = by_stem(images, masks)
    names = _names(source, masks, [mask for _, mask in pairs])
    table = {**dict(enumerate(names)), IGNORE: None}
    pictures = [
        Picture(
            mask.name, image.relative_to(images).as_posix(), partial(open_file, image), partial(_drawn, mask, table)
        )
        for image, mask in pairs
    ]
    notes = [f"images without a mask are left out: {len(rest)}, {rest[0]} first"] if rest else []
    return Contents(pictures, names, mistakes=mistakes, notes=notes)


def _drawn(mask: Path, table: dict[int, str | None]) -> Drawn:
    return regions(numbers(mask), table)


def _names(source: Source, folder: Path, masks: list[Path]) -> list[str]:
    """Of the scheme, of labelmap.txt, of VOC in folders that are called as VOC's are; or else "class 0" and so on."""
    if source.scheme:
        return list(source.scheme.names)
    if (table := source.folder / "labelmap.txt").is_file():
        return list(label_map(table))
    highest = max(map(_highest, masks), default=0)
    if folder.name == "SegmentationClass" and highest < len(_VOC):
        return list(_VOC)
    return [f"class {number}" for number in range(highest + 1)]


def _highest(mask: Path) -> int:
    """A mask that cannot be read is told of later."""
    try:
        values = numbers(mask)
    except ImageError:
        return 0
    return int(np.where((values == IGNORE) | (values < 0), 0, values).max(initial=0))

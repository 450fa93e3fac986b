"""COCO panoptic: a PNG whose colours are numbers of segments (red + 256 green + 65536 blue), and a JSON of them.

A segment is a class of an image, or with instances a connected region; 0 is what has no class.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from pipelines.dataset.shards import png_bytes
from pipelines.formats.items import About, Item, Piece, Pieces, Target
from pipelines.formats.to_coco import categories, write_json


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    piece: Piece = {}
    for item in items:
        file_name = f"{item.name}.png"
        target.write(f"images/{item.split}/{file_name}", item.png)
        numbers, segments = _segments(item, about)
        target.write(f"annotations/panoptic_{item.split}/{file_name}", png_bytes(Image.fromarray(rgb_of(numbers))))
        height, width = item.mask.shape
        found = piece.setdefault(item.split, {"images": [], "annotations": []})
        found["images"].append({"id": item.seed + 1, "file_name": file_name, "width": width, "height": height})
        found["annotations"].append({"image_id": item.seed + 1, "file_name": file_name, "segments_info": segments})
    return piece


def rgb_of(numbers: Int[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The colours of segments' numbers."""
    return np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)


def _segments(item: Item, about: About) -> tuple[Int[np.ndarray, "h w"], list[dict[str, Any]]]:
    from pipelines.formats.regions import Region, regions

    numbers = np.zeros(item.mask.shape, np.int32)
    found = (
        regions(item.mask, item.classes)
        if about.instances
        else (Region(value, 0, 0, item.mask == value) for value in item.classes)
    )
    segments = []
    for number, region in enumerate(found, start=1):
        whole = region.on(item.mask.shape) > 0
        numbers[whole] = number
        rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
        segments.append({"id": number, "category_id": region.value + 1, "area": region.area, "bbox": box, "iscrowd": 0})
    return numbers, segments


def finish(target: Target, pieces: Pieces, about: About) -> str:
    kinds = [category | {"isthing": int(about.instances)} for category in categories(about)]
    for split in about.splits:
        found = [
            (key, lambda split=split, key=key: (e for piece in pieces if split in piece for e in piece[split][key]))
            for key in ("images", "annotations")
        ]
        write_json(target, f"annotations/panoptic_{split}.json", {"categories": kinds}, dict(found))
    return ""

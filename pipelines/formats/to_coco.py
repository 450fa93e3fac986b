"""COCO: an annotation for each class of an image, or for each connected region; masks as compressed RLE.

Ids begin at 1, as COCO's do: class 0 is category 1, and seed 0 is image 1.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import numpy as np

from pipelines.files.storage import writing
from pipelines.formats.items import About, Item, Piece, Pieces, Target


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    piece: Piece = {}
    for item in items:
        file_name = f"{item.name}.png"
        target.write(f"images/{item.split}/{file_name}", item.png)
        height, width = item.mask.shape
        image = {"id": item.seed + 1, "file_name": file_name, "width": width, "height": height}
        found = piece.setdefault(item.split, {"images": [], "annotations": []})
        found["images"].append(image | {"uncertainty": item.uncertainty})
        found["annotations"] += annotations(item, about)
    return piece


def annotations(item: Item, about: About) -> Iterator[dict[str, Any]]:
    """Without their ids, which are counted when all shards are done."""
    from pycocotools import mask as rle

    for value, pixels in _masks(item, about):
        encoded = rle.encode(np.asfortranarray(pixels))
        yield {
            "image_id": item.seed + 1,
            "category_id": value + 1,
            "segmentation": {"size": encoded["size"], "counts": _text(encoded["counts"])},
            "area": int(np.count_nonzero(pixels)),
            "bbox": [int(edge) for edge in rle.toBbox(encoded)],
            "iscrowd": 0,
        }


def _text(counts: str | bytes) -> str:
    return counts if isinstance(counts, str) else counts.decode()


def _masks(item: Item, about: About) -> Iterator[tuple[int, np.ndarray]]:
    if not about.instances:
        yield from ((value, (item.mask == value).astype(np.uint8)) for value in item.classes)
        return
    from pipelines.formats.regions import regions

    yield from ((region.value, region.on(item.mask.shape)) for region in regions(item.mask, item.classes))


def finish(target: Target, pieces: Pieces, about: About) -> str:
    for split in about.splits:
        write_json(
            target,
            f"annotations/{split}.json",
            {"categories": categories(about)},
            {
                "images": lambda split=split: (image for found in _of(pieces, split) for image in found["images"]),
                "annotations": lambda split=split: _numbered(
                    annotation for found in _of(pieces, split) for annotation in found["annotations"]
                ),
            },
        )
    return ""


def categories(about: About) -> list[dict[str, Any]]:
    rows = enumerate(zip(about.scheme.names, about.scheme.colors, strict=True), start=1)
    return [{"id": number, "name": name, "supercategory": "", "color": color} for number, (name, color) in rows]


def _of(pieces: Pieces, split: str) -> Iterator[dict[str, Any]]:
    return (piece[split] for piece in pieces if split in piece)


def _numbered(found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return ({"id": number, **annotation} for number, annotation in enumerate(found, start=1))


def write_json(target: Target, name: str, head: dict[str, Any], lists: dict[str, Callable[[], Iterable[Any]]]) -> None:
    """An object of the head's keys and these lists, an entry a line: none of them is ever whole in memory."""
    path = target.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()))
        for key, entries in lists.items():
            file.write(f",\n{json.dumps(key)}: ")
            write_list(file, entries())
        file.write("\n}\n")


def write_list(file: IO[str], entries: Iterable[Any]) -> None:
    """A JSON list, an entry a line."""
    file.write("[")
    for number, entry in enumerate(entries):
        file.write((",\n" if number else "\n") + json.dumps(entry))
    file.write("\n]")

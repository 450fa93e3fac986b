"""YOLO's polygons: `images/train`, `labels/train/NAME.txt` with a line a region, and data.yaml.

A hole is cut open to the outside, since a line holds one outline. What is lost is measured: every line that was written
is filled again, as the format's readers fill it, and compared with the mask.
"""

import json
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from label import IGNORE
from pipelines.formats.items import About, Item, Piece, Pieces, Target

_TO_CENTRE = 0.25
"""Added to a pixel's number: readers that round and readers that cut off the fraction both find the pixel again."""


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    counts = np.zeros((2, len(about.scheme)), np.int64)
    for item in items:
        lines = label_lines(item.mask, item.classes)
        target.write(f"images/{item.split}/{item.name}.png", item.png)
        target.write(f"labels/{item.split}/{item.name}.txt", "".join(f"{line}\n" for line in lines))
        counts += agreement(item.mask, mask_of(lines, item.mask.shape), len(about.scheme))
    return {"intersections": counts[0].tolist(), "unions": counts[1].tolist()}


def label_lines(mask: UInt8[np.ndarray, "h w"], classes: Sequence[int]) -> list[str]:
    """`class x y x y ...`, a line for each connected region; shares of width and height."""
    from pipelines.formats.regions import keyholed, regions, three_points

    size = np.array(mask.shape[::-1])
    return [
        f"{region.value} "
        + " ".join(f"{share:.6f}" for share in ((three_points(keyholed(region)) + _TO_CENTRE) / size).ravel())
        for region in regions(mask, classes)
    ]


def mask_of(lines: Sequence[str], shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w"]:
    """What a reader makes of the lines; 255 where no polygon is."""
    from pipelines.formats.regions import filled

    mask = np.full(shape, IGNORE, np.uint8)
    for line in lines:
        value, *shares = line.split()
        points = np.array(shares, float).reshape(-1, 2) * shape[::-1]
        mask[filled(shape, [points.astype(np.int32)]) > 0] = int(value)
    return mask


def agreement(
    mask: UInt8[np.ndarray, "h w"], read: UInt8[np.ndarray, "h w"], classes: int
) -> Int[np.ndarray, "2 classes"]:
    """Pixels of each class in both masks, and in at least one of them."""
    both = np.bincount(mask[mask == read], minlength=256)
    either = np.bincount(mask.ravel(), minlength=256) + np.bincount(read.ravel(), minlength=256) - both
    return np.stack([both[:classes], either[:classes]])


def finish(target: Target, pieces: Pieces, about: About) -> str:
    splits = {split: f"images/{split}" for split in about.splits}
    if "train" in splits:
        splits.setdefault("val", splits["train"])  # trainers want one
    names = dict(enumerate(about.scheme.names))
    rows = [f"{split}: {folder}" for split, folder in splits.items()]
    rows += ["names:", *(f"  {i}: {json.dumps(name, ensure_ascii=False)}" for i, name in names.items())]
    target.write("data.yaml", "\n".join([*rows, ""]))
    counts = np.zeros((2, len(names)), np.int64)
    for piece in pieces:
        counts += [piece["intersections"], piece["unions"]]
    return f"whose polygons are lossy: mIoU {miou(counts):.4f} against the masks"


def miou(counts: Int[np.ndarray, "2 classes"]) -> float:
    """Of the classes that are there; 1 where none is."""
    both, either = counts
    return float((both[either > 0] / either[either > 0]).mean()) if either.any() else 1.0

"""LabelMe's JSON files to be corrected, beside their images; in the order of names the most uncertain come first.

Regions are polygons without holes, painted one over the other; what has no class is `__ignore__`, as LabelMe calls it.
"""

import json
from collections.abc import Iterator

from label import IGNORE
from pipelines.formats.items import About, Item, Piece, Pieces, Target

IGNORED = "__ignore__"
_VERSION = "5.4.1"  # of the format: LabelMe warns of none at all


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    for item in items:
        target.write(f"{item.name}.png", item.png)
        target.write(f"{item.name}.json", json.dumps(labelled(item, about), ensure_ascii=False, indent=1) + "\n")
    return {}


def labelled(item: Item, about: About) -> dict:
    """What LabelMe opens beside an image."""
    from pipelines.formats.regions import painted_outlines, three_points

    height, width = item.mask.shape
    shapes = [
        {
            "label": IGNORED if value == IGNORE else about.scheme.names[value],
            "points": three_points(outline).tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for value, outline in painted_outlines(item.mask, [*item.classes, IGNORE])
    ]
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{item.name}.png",
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
        "uncertainty": item.uncertainty,
    }


def finish(target: Target, pieces: Pieces, about: About) -> str:
    """labels.txt is what `labelme --labels` and its converters take."""
    target.write("labels.txt", "".join(f"{name}\n" for name in (IGNORED, *about.scheme.names)))
    return ""

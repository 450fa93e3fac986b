"""CVAT: images, labels.json for a new task, and annotations.zip to upload to it as "Segmentation mask 1.1".

CVAT finds a label by its colour, so each has one of its own, `background` is declared, and a pixel without a class is
background: a colour that labelmap.txt lacks would be refused.
"""

import json
import zipfile
from collections.abc import Iterator

import numpy as np
from PIL import Image

from label import IGNORE
from pipelines.dataset.shards import png_bytes
from pipelines.files.storage import writing
from pipelines.formats.items import About, Item, Piece, Pieces, Target, hex_of, refuse_names

BACKGROUND = "background"
MASKS = ".masks"
Color = tuple[int, int, int]


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    """Masks lie in a folder of their own until all are done."""
    table, names = _painting(about), []
    for item in items:
        target.write(f"images/{item.name}.png", item.png)
        target.write(f"{MASKS}/{item.name}.png", png_bytes(Image.fromarray(table[item.mask])))
        names.append(item.name)
    return {"names": names}


def colors_of(about: About) -> dict[str, Color]:
    """The scheme's own where they are distinct and none is black, else those of Pascal VOC."""
    names = [name for name in about.scheme.names if name != BACKGROUND]
    own = [color for name, color in zip(about.scheme.names, about.scheme.colors, strict=True) if name != BACKGROUND]
    if len(set(own)) < len(own) or (0, 0, 0) in own:
        own = [_voc_color(number) for number in range(1, len(names) + 1)]
    return {BACKGROUND: (0, 0, 0), **dict(zip(names, own, strict=True))}


def _voc_color(number: int) -> Color:
    """The number's bits, spread over three channels from the highest bit down: the devkit's colour map."""
    red, green, blue = (
        sum(((number >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)
    )
    return red, green, blue


def _painting(about: About) -> np.ndarray:
    """Colour of each mask value."""
    table, colors = np.zeros((IGNORE + 1, 3), np.uint8), colors_of(about)
    for value, name in enumerate(about.scheme.names):
        table[value] = colors[name]
    return table


def finish(target: Target, pieces: Pieces, about: About) -> str:
    colors = colors_of(about)
    labels = [{"name": name, "color": hex_of(color), "attributes": []} for name, color in colors.items()]
    target.write("labels.json", json.dumps(labels, ensure_ascii=False, indent=2) + "\n")
    names = [name for piece in pieces for name in piece["names"]]
    labelmap = ["# label:color_rgb:parts:actions"]
    labelmap += [f"{name}:{','.join(map(str, color))}::" for name, color in colors.items()]
    with writing(target.folder / "annotations.zip") as temporary, zipfile.ZipFile(temporary, "w") as file:
        file.writestr(zipfile.ZipInfo("labelmap.txt"), "\n".join([*labelmap, ""]))
        listed = "".join(f"{name}\n" for name in sorted(names))
        file.writestr(zipfile.ZipInfo("ImageSets/Segmentation/default.txt"), listed)
        for name in sorted(names):
            mask = (target.folder / MASKS / f"{name}.png").read_bytes()
            file.writestr(zipfile.ZipInfo(f"SegmentationClass/{name}.png"), mask)
    return ""


def check(about: About) -> None:
    refuse_names(about, _is_held, "a name is one line without a colon, # or spaces around it")


def _is_held(name: str) -> bool:
    return ":" not in name and not name.startswith("#") and name == name.strip()

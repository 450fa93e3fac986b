"""Triples as InstructDiffusion is trained on: an image, an instruction, and the image painted as it says.

One for each class that an image has. Phrasing is drawn by seed and class, so it depends on nothing else.
"""

import hashlib
import json
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pipelines.dataset.shards import png_bytes
from pipelines.formats.items import About, Item, Piece, Pieces, Target, lines_of

PHRASINGS = (
    "place a translucent mask over the {}",
    "put a see-through layer of colour on the {}",
    "cover the {} with a translucent mask",
    "tint the {}",
    "highlight the {} with a translucent colour",
    "mark every pixel of the {}",
    "shade the {} and leave the rest as it is",
    "lay a half-transparent mask on the {}",
    "segment the {} and colour it",
    "show where the {} is with a translucent overlay",
)
_OPACITY = 0.5


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    lines: dict[str, list[str]] = {}
    for item in items:
        target.write(f"{item.split}/images/{item.name}.png", item.png)
        for value in item.classes:
            color, painted = about.scheme.colors[value], f"painted/{item.name}-{value:03d}.png"
            picture = Image.fromarray(painted_over(item.image, item.mask == value, color))
            target.write(f"{item.split}/{painted}", png_bytes(picture))
            row = {
                "input_image_file_name": f"images/{item.name}.png",
                "edit_prompt": instruction(item.seed, value, about.scheme.names[value]),
                "edited_image_file_name": painted,
                "class": about.scheme.names[value],
                "color": list(color),
            }
            lines.setdefault(item.split, []).append(json.dumps(row, ensure_ascii=False))
    return lines


def instruction(seed: int, value: int, name: str) -> str:
    """The one that this sample has for this class."""
    drawn = hashlib.sha256(f"phrasing {seed} {value}".encode()).digest()
    return PHRASINGS[int.from_bytes(drawn[:8], "big") % len(PHRASINGS)].format(name)


def painted_over(
    image: UInt8[np.ndarray, "h w 3"], where: np.ndarray, color: tuple[int, int, int]
) -> UInt8[np.ndarray, "h w 3"]:
    """The image with half of the colour where it is asked for."""
    mixed = np.rint(image * (1 - _OPACITY) + np.array(color) * _OPACITY).astype(np.uint8)
    return np.where(where[..., None], mixed, image)


def finish(target: Target, pieces: Pieces, about: About) -> str:
    """metadata.jsonl is what the `imagefolder` of Hugging Face's datasets reads."""
    for split in about.splits:
        target.write(f"{split}/metadata.jsonl", lines_of(pieces, split))
    return ""

"""The classes of a domain: their names, colours, and the label that marks pixels nobody has decided on."""

import json
import tomllib
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydantic import Field

from label.errors import SchemeError

IGNORE = 255
"""The mask value of a pixel without a class."""

Color = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]
"""Red, green and blue, as JSON holds them."""

_EXAMPLE = 'classes = ["sky", "tree"], or [{ name = "sky", color = [90, 160, 250] }, ...]'

# Distinct colours for classes that come without one, from Green-Armytage's colour alphabet, most contrasting first.
_FALLBACK = [
    (0, 0, 0), (240, 163, 255), (0, 117, 220), (153, 63, 0), (76, 0, 92), (0, 92, 49), (43, 206, 72), (255, 204, 153),
    (128, 128, 128), (148, 255, 181), (143, 124, 0), (157, 204, 0), (194, 0, 136), (0, 51, 128), (255, 164, 5),
    (255, 168, 187), (66, 102, 0), (255, 0, 16), (94, 241, 242), (0, 153, 143), (224, 255, 102), (116, 10, 255),
    (153, 0, 0), (255, 255, 128), (255, 225, 0), (255, 80, 5),
]  # fmt: skip


def _is_one_line(name: str) -> bool:
    """Without control characters, halves of letters and ends of lines; joiners, as many scripts need them, are none."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)


@dataclass(frozen=True)
class Scheme:
    """Class i is names[i], painted in colors[i] (8-bit RGB); without colors, in distinct ones.

    Raises SchemeError for fewer than 2 or more than 255 classes, a name given twice, or colours for a part of them.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...] = field(default=())

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= IGNORE:
            raise SchemeError(f"{len(self.names)} classes are given; 2 to {IGNORE} are possible ({IGNORE} is 'ignore')")
        if strange := [name for name in self.names if not name.strip() or not _is_one_line(name)]:
            raise SchemeError(f"a class is called {strange[0]!r}; a name of printed letters is needed")
        if any(not 0 <= channel <= 255 for color in self.colors for channel in color):
            raise SchemeError(f"colours are three whole numbers, 0 to 255, not {list(self.colors)}")
        if len(set(self.names)) < len(self.names):
            raise SchemeError(f"class names are given twice: {', '.join(self.names)}")
        if not self.colors:
            object.__setattr__(self, "colors", _distinct_colors(len(self.names)))
        if len(self.colors) != len(self.names):
            raise SchemeError(f"{len(self.names)} classes have {len(self.colors)} colours")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def palette(self) -> list[int]:
        """768 numbers as PIL's putpalette takes them; the ignore label is white."""
        flat = [channel for color in self.colors for channel in color]
        return flat + [0] * (3 * IGNORE - len(flat)) + [255, 255, 255]

    def painted(self, mask: UInt8[np.ndarray, "h w"]) -> Image.Image:
        """The mask as an image of mode P: still class ids, shown in the classes' colours."""
        image = Image.fromarray(mask)
        image.putpalette(self.palette)
        return image

    @property
    def has_own_colors(self) -> bool:
        """Whether somebody chose the colours, so that they say what a pixel of a mask is."""
        return self.colors != _distinct_colors(len(self.names))

    @classmethod
    def load(cls, path: str | Path) -> "Scheme":
        """Read `classes = ["skin", "hair"]`, or `classes = [{ name = "skin", color = [241, 195, 165] }, ...]`.

        Colours may be left out. Raises SchemeError for a file that is missing or says something else.
        """
        path = Path(path)
        if not path.is_file():
            raise SchemeError(f"{path} is missing; it names the classes: {_EXAMPLE}")
        try:
            rows = tomllib.loads(path.read_text("utf-8")).get("classes")
        except (ValueError, OSError, RecursionError) as error:  # TOML's, or of a file that is no text
            raise SchemeError(f"{path} does not list classes ({error}); it needs {_EXAMPLE}") from error
        if not isinstance(rows, list) or not all(isinstance(row, str | dict) for row in rows):
            raise SchemeError(f"{path} does not list classes; it needs {_EXAMPLE}")
        classes = [row if isinstance(row, dict) else {"name": row} for row in rows]
        for number, row in enumerate(classes):
            if mistake := _mistake(row):
                raise SchemeError(f"{path}: class {number} {mistake}")
        return cls(tuple(row["name"] for row in classes), tuple(tuple(r["color"]) for r in classes if "color" in r))

    def to_toml(self) -> str:
        """The text that `load` reads; colours stand in it where somebody chose them."""
        names = [json.dumps(name, ensure_ascii=False) for name in self.names]
        colors = [f", color = {list(color)}" if self.has_own_colors else "" for color in self.colors]
        rows = [f"    {{ name = {name}{color} }},\n" for name, color in zip(names, colors, strict=True)]
        comment = f"# What has value 0 in a mask is the first class; {IGNORE} is no class, and is ignored.\n"
        return f"{comment}classes = [\n{''.join(rows)}]\n"


def _distinct_colors(classes: int) -> tuple[tuple[int, int, int], ...]:
    return tuple(_FALLBACK[i % len(_FALLBACK)] for i in range(classes))


def _mistake(row: dict[str, Any]) -> str | None:
    """What is wrong with an entry of scheme.toml, as the end of a sentence."""
    if not isinstance(row.get("name"), str):
        return 'has no name; write { name = "sky" }, or "sky" alone'
    if unknown := sorted(set(row) - {"name", "color"}):
        return f"({row['name']}) has {', '.join(unknown)}; name and color are what a class may have"
    color = row.get("color", [0, 0, 0])
    if not (isinstance(color, list) and len(color) == 3 and all(type(c) is int and 0 <= c <= 255 for c in color)):
        return f"({row['name']}) has the color {color}; three whole numbers are needed, 0 to 255, as [90, 160, 250]"
    return None

"""The classes of a domain: their names, colours, and the label that marks pixels nobody has decided on."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from label.errors import SchemeError

IGNORE = 255
"""The mask value of a pixel without a class."""

# Distinct colours for classes that come without one, from Green-Armytage's colour alphabet, most contrasting first.
_FALLBACK = [
    (0, 0, 0), (240, 163, 255), (0, 117, 220), (153, 63, 0), (76, 0, 92), (0, 92, 49), (43, 206, 72), (255, 204, 153),
    (128, 128, 128), (148, 255, 181), (143, 124, 0), (157, 204, 0), (194, 0, 136), (0, 51, 128), (255, 164, 5),
    (255, 168, 187), (66, 102, 0), (255, 0, 16), (94, 241, 242), (0, 153, 143), (224, 255, 102), (116, 10, 255),
    (153, 0, 0), (255, 255, 128), (255, 225, 0), (255, 80, 5),
]  # fmt: skip


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
        if len(set(self.names)) < len(self.names):
            raise SchemeError(f"class names are given twice: {', '.join(self.names)}")
        if not self.colors:
            colors = tuple(_FALLBACK[i % len(_FALLBACK)] for i in range(len(self.names)))
            object.__setattr__(self, "colors", colors)
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

    @classmethod
    def load(cls, path: str | Path) -> "Scheme":
        """Read `classes = [{ name = "skin", color = [241, 195, 165] }, ...]`; colours may be left out.

        Raises SchemeError for a file that is missing or says something else.
        """
        path = Path(path)
        if not path.is_file():
            raise SchemeError(f"{path} is missing; it names the classes: classes = [{{ name = ... }}, ...]")
        try:
            rows = tomllib.loads(path.read_text())["classes"]
            names = tuple(str(row["name"]) for row in rows)
            colors = tuple((int(r), int(g), int(b)) for r, g, b in (row["color"] for row in rows if "color" in row))
        except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            raise SchemeError(f"{path} does not list classes as {{ name, color }}: {error!r}") from error
        return cls(names, colors)

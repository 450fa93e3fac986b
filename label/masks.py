"""From a mask's file to class ids: numbers are ids as they stand, colours are ids by the scheme.

A grey or palette image has both, numbers and the colours that they are shown in. Its numbers count, unless somebody
gave the classes colours and the image is painted in them.
"""

import tokenize
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Integer
from PIL import ImageOps

from generate import ImageError
from generate.images import open_image
from label.errors import AnnotationError
from label.schemes import IGNORE, Scheme

Ids = Integer[np.ndarray, "h w"]
Color = tuple[int, int, int, int]
"""Red, green, blue, opacity; 255 is opaque."""

_LOSSY = ("JPEG", "MPO")
# What numpy was seen to raise when bytes of a .npy file were flipped or cut off.
_DAMAGE = (OSError, ValueError, TypeError, SyntaxError, EOFError, MemoryError, OverflowError, tokenize.TokenError)


@dataclass(frozen=True)
class StoredMask:
    """What a mask's file holds, before it is decided what says the class."""

    name: str  # of the file
    holds: Literal["numbers", "grey", "palette", "colors"]
    values: Ids  # numbers; of a colour image, one for each colour
    colors: dict[int, Color]  # of every value that occurs, in their order; empty where there are numbers alone
    lossy: bool = False


def read_mask(path: Path) -> StoredMask:
    """Read a picture of any kind, or a .npy file of whole numbers. Raises AnnotationError for anything else."""
    return _read_array(path) if path.suffix.lower() == ".npy" else _read_picture(path)


def greys_are_colors(masks: Sequence[StoredMask], scheme: Scheme) -> bool:
    """Whether all grey masks together are painted in the scheme's colours, and some in one that is no class id."""
    shown = {color for mask in masks if mask.holds == "grey" and not mask.lossy for color in mask.colors.values()}
    painted = scheme.has_own_colors and shown <= set(_opaque(scheme))
    return painted and max((grey for grey, *_ in shown), default=0) >= len(scheme)


def class_ids(mask: StoredMask, scheme: Scheme, *, greys_are_colors: bool) -> Ids:
    """Class ids, IGNORE where the image is transparent; numbers may be out of range.

    Raises AnnotationError for colours that the scheme gives to no class, and for a lossy file of numbers.
    """
    by_color = {
        "numbers": False,
        "grey": greys_are_colors or mask.lossy,
        "palette": scheme.has_own_colors and _painted(mask, scheme),
        "colors": True,
    }
    return _by_color(mask, scheme) if by_color[mask.holds] else mask.values


def _painted(mask: StoredMask, scheme: Scheme) -> bool:
    """Whether a palette has the colour of a class at the number of another one; IGNORE is white in our own masks."""
    colors = _opaque(scheme)
    as_numbered = set(enumerate(colors))
    return any(c in colors and (n, c) not in as_numbered for n, c in mask.colors.items() if n != IGNORE)


def _by_color(mask: StoredMask, scheme: Scheme) -> Ids:
    known = {color: number for number, color in enumerate(_opaque(scheme))}
    strange = {color for color in mask.colors.values() if color not in known and color[3]}
    if strange or len(known) < len(scheme):
        raise AnnotationError(_strange_color(mask, scheme, strange))
    ids = [known.get(color, IGNORE) for color in mask.colors.values()]
    _, places = np.unique(mask.values, return_inverse=True)
    return np.array(ids, dtype=np.uint8)[places.reshape(mask.values.shape)]


def _strange_color(mask: StoredMask, scheme: Scheme, strange: set[Color]) -> str:
    if mask.lossy:
        return f"{mask.name} is a JPEG, which blurs class ids and colours alike; save the mask as PNG"
    if not scheme.has_own_colors:
        return (
            f"{mask.name} is in colour, and scheme.toml gives the classes no colours; give each its color there, "
            "or save class ids as a grey image"
        )
    if not strange:
        return f"{mask.name} is in colour, and scheme.toml gives one colour to several classes; give each its own"
    _, counts = np.unique(mask.values, return_counts=True)
    pixels = Counter[Color]()
    for color, count in zip(mask.colors.values(), counts.tolist(), strict=True):
        pixels[color] += count if color in strange else 0
    ((color, count),) = pixels.most_common(1)
    shown = str(list(color[:3] if color[3] == 255 else color))
    more = f", and {len(strange) - 1} more like it" if len(strange) > 1 else ""
    return (
        f"{mask.name} has a colour of no class in scheme.toml, {shown}, in {count} of its {mask.values.size} "
        f"pixels{more}; paint in the classes' colours, without smoothed or half-transparent edges"
    )


def _opaque(scheme: Scheme) -> list[Color]:
    return [(*color, 255) for color in scheme.colors]


def _read_picture(path: Path) -> StoredMask:
    try:
        with open_image(path) as image:
            upright, lossy = ImageOps.exif_transpose(image), image.format in _LOSSY
            if upright.mode == "LA" and np.asarray(upright)[..., 1].min() == 255:
                upright = upright.convert("L")
            numbers, deep = np.asarray(upright), upright.mode in ("I", "F") or upright.mode.startswith("I;16")
            rgba = None if deep else np.asarray(upright.convert("RGBA"))
    except ImageError as error:
        raise AnnotationError(str(error)) from error
    if rgba is None:
        return _numbers(path.name, numbers)
    if upright.mode in ("1", "L", "P"):
        values, holds = numbers.astype(np.uint8), "palette" if upright.mode == "P" else "grey"
    else:
        values, holds = np.ascontiguousarray(rgba).view(np.uint32)[..., 0], "colors"
    unique, first = np.unique(values, return_index=True)
    colors = dict(zip(unique.tolist(), map(tuple, rgba.reshape(-1, 4)[first].tolist()), strict=True))
    return StoredMask(path.name, holds, values, colors, lossy)


def _read_array(path: Path) -> StoredMask:
    if not path.is_file():
        raise AnnotationError(f"{path.name} is no file; a .npy file of whole numbers is needed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a header that Python 2 may have written
            # mapped, so that a damaged header cannot ask for more memory than the file has bytes
            array = np.array(np.lib.format.open_memmap(path, mode="r"))
    except _DAMAGE as error:
        raise AnnotationError(f"{path.name} is no .npy file that can be read; it is damaged, or no array") from error
    return _numbers(path.name, array)


def _numbers(name: str, array: np.ndarray) -> StoredMask:
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        raise AnnotationError(f"{name} holds fractions or text; a mask is integers, the ids of classes")
    if array.ndim != 2:
        sides = "x".join(map(str, array.shape)) or "a single number"
        raise AnnotationError(f"{name} is {sides}; a mask is integers [height, width]")
    return StoredMask(name, "numbers", array, {})

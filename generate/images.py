"""The one place that opens other people's images: whatever they hold becomes upright 8-bit RGB."""

import io
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from generate.errors import ImageError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings, in lower case, of the files that are images where a folder of them is read."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF")
"""What a file may be, whatever it is called: Pillow would start Ghostscript for PostScript."""

# What Pillow was seen to raise when bytes of its twelve commonest formats were flipped or cut off.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, RuntimeError, struct.error, Image.DecompressionBombError)


def read_image(path: str | Path) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image file as to_rgb does; of an animation, the first frame.

    Raises ImageError for a file that is missing, damaged, no image, or larger than twice Image.MAX_IMAGE_PIXELS.
    """
    with open_image(path) as image:
        return to_rgb(image)


def decoded_image(content: bytes, path: str | Path) -> UInt8[np.ndarray, "h w 3"]:
    """The same of a file's bytes that are in hand; its path is for what may be wrong with it."""
    with open_image(path, content) as image:
        return to_rgb(image)


@contextmanager
def open_image(path: str | Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """A file, or its bytes, as Pillow opens it; what damage shows while it is open is an ImageError that names it."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images and refuses those twice as large; only the latter is a mistake
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # by its path, Pillow would map a TIFF into memory, and scramble it if it has an orientation (seen in 13.0)
            with _opened(path, content) as file, Image.open(file, formats=_FORMATS) as image:
                yield image
    except _DAMAGE as error:
        raise ImageError(f"{path} is no image that can be read ({_reason(error)})") from error


def _opened(path: str | Path, content: bytes | None) -> io.BufferedReader | io.BytesIO:
    return open(path, "rb", opener=_without_waiting) if content is None else io.BytesIO(content)


def _without_waiting(path: str, flags: int) -> int:
    """A pipe would be waited for until somebody writes."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(handle).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        os.close(handle)
        raise OSError("it is a pipe or a device; a file is needed")
    return handle


def to_rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Any image of Pillow's as 8-bit RGB, turned as its EXIF orientation says.

    Transparency is laid over white; 16-bit grey is scaled by 255 / 65535. Raises ImageError for numbers of another
    range, and for modes that Pillow does not turn into RGB.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        return _from_16_bits(np.asarray(upright))
    if upright.mode == "F":
        raise ImageError("its pixels are fractions, of which black and white are not known; 8 or 16 bits are needed")
    if upright.has_transparency_data:
        opaque = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(opaque, upright.convert("RGBA"))
    return np.asarray(upright.convert("RGB"))


def _from_16_bits(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise ImageError(f"its values go from {low} to {high}; 8 or 16 bits, 0 to 65535, are needed")
    grey = np.rint(values / 257).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its format is not known"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

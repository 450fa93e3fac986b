"""What a mask holds beside its classes: which of its pixels a person drew, and which were accepted of a suggestion.

`drawn/0007.png` lies beside `0007.mask.png`. Readers of annotated folders do not look into folders, so that it is taken
for neither an image nor a mask.
"""

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from generate import ImageError
from generate.images import open_image
from label import IGNORE

UNTOUCHED, DRAWN, ACCEPTED = range(3)
_PALETTE = [0, 0, 0, 255, 255, 255, 120, 170, 255]
_MASK, _DONE = "mask", "done"  # text chunks: the digest of the mask that it belongs to, and whether that is done


@dataclass(frozen=True)
class Annotation:
    """A mask as it is worked on."""

    mask: UInt8[np.ndarray, "h w"]  # class ids; 255 where there is none, or nobody knows
    origin: UInt8[np.ndarray, "h w"]  # UNTOUCHED, DRAWN or ACCEPTED; a drawn 255 says that nobody knows
    done: bool = False  # a person has looked at all of it

    @classmethod
    def empty(cls, size: tuple[int, int]) -> "Annotation":
        return cls(np.full(size, IGNORE, np.uint8), np.zeros(size, np.uint8))

    @property
    def revision(self) -> str:
        """Names what is annotated; colours and names of classes do not count."""
        return _digest(self.mask, self.origin)

    @property
    def is_empty(self) -> bool:
        return not self.done and not self.origin.any() and bool((self.mask == IGNORE).all())

    @property
    def learnt(self) -> UInt8[np.ndarray, "h w"]:
        """Class ids to learn from: what was drawn, and what was accepted once the image is done; 255 elsewhere."""
        return self.mask if self.done else np.where(self.origin == DRAWN, self.mask, np.uint8(IGNORE))

    @property
    def drawn(self) -> UInt8[np.ndarray, "h w"]:
        """Class ids of what was drawn; 255 elsewhere."""
        return np.where(self.origin == DRAWN, self.mask, np.uint8(IGNORE))


def origin_file(image: Path) -> Path:
    return image.parent / "drawn" / f"{image.stem}.png"


def encoded(annotation: Annotation) -> bytes:
    """The small PNG of where pixels come from."""
    picture, chunk, content = Image.fromarray(annotation.origin), PngInfo(), io.BytesIO()
    picture.putpalette(_PALETTE)
    chunk.add_text(_MASK, _digest(annotation.mask))
    chunk.add_text(_DONE, "yes" if annotation.done else "no")
    picture.save(content, "png", pnginfo=chunk)
    return content.getvalue()


def is_done(path: Path) -> bool:
    """Whether this file of origins says that its mask is done; only the head of the file is read."""
    try:
        with open_image(path) as picture:
            return picture.info.get(_DONE) == "yes"
    except ImageError:
        return False


def with_origins(mask: UInt8[np.ndarray, "h w"], path: Path) -> Annotation:
    """A mask with its file of origins.

    Where that is missing, damaged or of an earlier mask, as after a crash or another tool's work, labelled pixels of
    unknown origin count as drawn.
    """
    assumed = np.where(mask == IGNORE, UNTOUCHED, DRAWN).astype(np.uint8)
    try:
        with open_image(path) as picture:
            origin, told, done = np.array(picture), picture.info.get(_MASK), picture.info.get(_DONE) == "yes"
    except ImageError:
        return Annotation(mask, assumed)
    if origin.shape != mask.shape or origin.dtype != np.uint8 or origin.max(initial=0) > ACCEPTED:
        return Annotation(mask, assumed)
    if told == _digest(mask):
        return Annotation(mask, origin, done)
    known = (mask != IGNORE) & (origin != UNTOUCHED)
    return replace(Annotation(mask, np.where(known, origin, assumed)), done=done)


def _digest(*arrays: np.ndarray) -> str:
    content = hashlib.sha256()
    for array in arrays:
        content.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return content.hexdigest()[:20]

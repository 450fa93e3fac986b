"""Images that a training may see: files of this machine, or what lies elsewhere; cut to squares. Needs no torch."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from generate.errors import ImageError
from generate.images import IMAGE_SUFFIXES, decoded_image, read_image

_LEAST_CROP = 0.8  # of the shorter side


@runtime_checkable
class Packed(Protocol):
    """An image that is no file of this machine; as text, its name."""

    def content(self) -> bytes:
        """The bytes of its file."""
        ...


Picture = Path | Packed


_RESULTS = (".mask", "_mask", ".overlay", ".uncertainty")  # ends of the stems of what lies beside an image


def image_names(folder: Path) -> list[str]:
    """All images below the folder but hidden ones, masks and results: paths in it with "/" in them, sorted as text.

    Raises ImageError when there are none, or no folder.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder} {'is no folder' if folder.exists() else 'does not exist'}; images are needed there")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    if not (names := [name for name in names if is_image(name)]):
        raise ImageError(f"{folder} holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return names


def image_paths(folder: Path) -> list[Path]:
    """Those of `image_names`, with the folder."""
    return [folder / name for name in image_names(folder)]


def is_image(name: str) -> bool:
    """Whether a file below a folder, by its name there, is an image, and none that is hidden, a mask or a result."""
    path = Path(name)
    is_hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.stem.lower().endswith(_RESULTS) and not is_hidden


def read_picture(picture: Picture) -> UInt8[np.ndarray, "h w 3"]:
    """Raises ImageError for one that cannot be read."""
    return read_image(picture) if isinstance(picture, Path) else decoded_image(picture.content(), str(picture))


def read_square(picture: Picture, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The image's central square. Raises ImageError for one that cannot be read."""
    image = Image.fromarray(read_picture(picture))
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def read_crop(picture: Picture, size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "size size 3"]:
    """A square anywhere in the image, its side four fifths of the shorter one or more."""
    image = Image.fromarray(read_picture(picture))
    side = min(image.size) * rng.uniform(_LEAST_CROP, 1)
    left, top = (rng.uniform(0, length - side) for length in image.size)
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box=box))

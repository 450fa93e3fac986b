"""Annotated folders: images, beside each its mask of the same stem, and scheme.toml with the classes.

`0007.png` (or another of IMAGE_SUFFIXES) is the image of `0007.mask.png` (a PNG of class ids) or `0007.npy` (integers
[H,W]).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from generate import IMAGE_SUFFIXES, ImageError, read_image
from label.errors import AnnotationError
from label.schemes import IGNORE, Scheme

MASK_SUFFIX = ".mask.png"
_SHOWN = 5  # mistakes that a message lists


@dataclass(frozen=True)
class Annotations:
    """All images and masks of a folder, at one size."""

    names: list[str]
    images: UInt8[np.ndarray, "n h w 3"]
    masks: UInt8[np.ndarray, "n h w"]  # class ids; 255 = ignore
    scheme: Scheme


def load_annotations(
    folder: str | Path, size: tuple[int, int], *, scheme: Scheme | None = None, ignore: int = IGNORE
) -> Annotations:
    """Read a folder of images and masks at `size` (height, width); others of the same proportions are resized to it.

    `scheme` stands in for a scheme.toml; mask value `ignore` becomes 255. Raises AnnotationError with the first
    mistakes and the number of the others, SchemeError for a scheme.toml that is missing or wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AnnotationError(f"{folder} is no folder; annotated images are needed there")
    scheme = scheme or Scheme.load(folder / "scheme.toml")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not _is_mask(p))
    if not paths:
        raise AnnotationError(f"{folder} holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    pairs, mistakes = [], []
    for path in paths:
        try:
            pairs.append(_resized(*_read_pair(path, size, scheme), size))
        except AnnotationError as error:
            mistakes.append(str(error))
    if mistakes:
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise AnnotationError(f"{folder}: {'; '.join(mistakes[:_SHOWN])}{more}")
    images, masks = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    masks[masks == ignore] = IGNORE
    return Annotations([p.stem for p in paths], images, masks, scheme)


def _is_mask(path: Path) -> bool:
    return path.name.lower().endswith(MASK_SUFFIX)


def _read_pair(path: Path, size: tuple[int, int], scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    try:
        image = read_image(path)
    except ImageError as error:
        raise AnnotationError(str(error)) from error
    mask = _read_mask(path)
    if image.shape[0] * size[1] != image.shape[1] * size[0]:
        raise AnnotationError(
            f"{path.name} is {_size(image)}, the model's images are {size[1]}x{size[0]}; cut it to their proportions"
        )
    if mask.shape != image.shape[:2]:
        raise AnnotationError(f"the mask of {path.name} is {_size(mask)}, its image {_size(image)}")
    outside = sorted(set(np.unique(mask).tolist()) - set(range(len(scheme))) - {IGNORE})
    if outside:
        raise AnnotationError(
            f"the mask of {path.name} has class {', '.join(map(str, outside))}; "
            f"scheme.toml has 0 to {len(scheme) - 1}, and {IGNORE} is ignored"
        )
    return image, mask.astype(np.uint8)


def _resized(image: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """As the publication does it: the image bilinearly with antialiasing, of the mask every h / height-th pixel."""
    if mask.shape == size:
        return image, mask
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, mask.shape, strict=True))
    small = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(small), mask[np.ix_(rows, columns)]


def _read_mask(path: Path) -> np.ndarray:
    png, npy = path.with_name(path.stem + MASK_SUFFIX), path.with_suffix(".npy")
    try:
        if png.is_file():
            with Image.open(png) as file:
                if file.mode not in ("P", "L"):
                    raise AnnotationError(f"{png.name} is a {file.mode} image; a mask holds class ids (mode P or L)")
                return np.asarray(file)
        if npy.is_file():
            mask = np.load(npy, allow_pickle=False)
            if mask.ndim != 2 or not np.issubdtype(mask.dtype, np.integer):
                raise AnnotationError(f"{npy.name} is {mask.dtype} {mask.shape}; a mask is integers [height, width]")
            return mask
    except (UnidentifiedImageError, OSError, EOFError) as error:
        raise AnnotationError(f"the mask of {path.name} cannot be read ({error})") from error
    raise AnnotationError(f"{path.name} has no mask; expected {png.name} or {npy.name}")


def _size(array: np.ndarray) -> str:
    return "x".join(str(side) for side in array.shape[1::-1])

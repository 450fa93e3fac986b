"""Annotated folders: images, beside each its mask of the same stem, and scheme.toml with the classes.

`0007.png` (or another of IMAGE_SUFFIXES) is the image of `0007.mask.png` or `0007_mask.png` (a picture of class ids or
in the classes' colours), or of `0007.npy` (integers [H,W]).
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from generate import ImageError, read_image
from label.errors import AnnotationError
from label.masks import Ids, StoredMask, class_ids, greys_are_colors, read_mask
from label.pairs import Pairs, drawings, find_pairs
from label.schemes import IGNORE, Scheme

_SHOWN = 5  # mistakes that a message lists


@dataclass(frozen=True)
class Annotations:
    """All images of a folder that have masks, at one size."""

    names: list[str]
    images: UInt8[np.ndarray, "n h w 3"]
    masks: UInt8[np.ndarray, "n h w"]  # class ids; 255 = ignore
    scheme: Scheme
    unmasked: list[str] = field(default_factory=list)  # file names of the folder's other images
    note: str = ""  # what is to be told of those, as a sentence

    @property
    def class_pixels(self) -> Int64[np.ndarray, "n classes"]:
        """Pixels of each class in each image; ignored pixels are in none."""
        return np.stack([np.bincount(mask.ravel(), minlength=IGNORE + 1)[: len(self.scheme)] for mask in self.masks])


def load_annotations(
    folder: str | Path, size: tuple[int, int], *, scheme: Scheme | None = None, ignore: int = IGNORE
) -> Annotations:
    """Read a folder of images and masks at `size` (height, width); others of the same proportions are resized to it.

    Images without a mask are left out and named. `scheme` stands in for a scheme.toml; mask value `ignore` becomes 255.
    Raises AnnotationError with the first mistakes and the number of the others, SchemeError for a scheme.toml that is
    missing or wrong.
    """
    folder = Path(folder)
    pairs = find_pairs(folder)
    scheme = scheme or Scheme.load(folder / "scheme.toml")
    note = _note(folder, pairs)
    arrays, mistakes = _read(pairs, size, scheme, {*range(len(scheme)), ignore, IGNORE})
    mistakes = pairs.mistakes + mistakes
    if mistakes:
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise AnnotationError(f"{folder}: {'; '.join(mistakes[:_SHOWN])}{more}")
    if not arrays:
        raise AnnotationError(note)
    images, masks = (np.stack(same) for same in zip(*arrays, strict=True))
    if np.unique(masks).tolist() == [0, IGNORE]:
        raise AnnotationError(
            f"{folder}: the masks hold 0 and {IGNORE} alone, and {IGNORE} is ignored, so that nothing but "
            f"{scheme.names[0]} is labelled; write two classes as 0 and 1, or give them these colours in scheme.toml, "
            "[0, 0, 0] and [255, 255, 255]"
        )
    masks[masks == ignore] = IGNORE
    names, unmasked = [image.stem for image, _ in pairs.annotated], [image.name for image in pairs.unmasked]
    return Annotations(names, images, masks, scheme, unmasked, note)


def _note(folder: Path, pairs: Pairs) -> str:
    """What there is to say of images without masks; empty where there are none."""
    if not pairs.unmasked:
        return ""
    other_tools, count = drawings(folder.glob("*.json")), len(pairs.annotated) + len(pairs.unmasked)
    first = pairs.unmasked[0]
    if not pairs.annotated:
        name = f"{first.stem}.mask.png"
        return f"{folder}: none of its {count} images has a mask; the mask of {first.name} would be {name}{other_tools}"
    rest = f"the other {len(pairs.unmasked)} are" if len(pairs.unmasked) > 1 else f"the other, {first.name}, is"
    return f"{folder}: {len(pairs.annotated)} of {count} images have masks; {rest} not used{other_tools}"


def _read(
    pairs: Pairs, size: tuple[int, int], scheme: Scheme, allowed: set[int]
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[str]]:
    """Images with their masks, and the mistakes of the others."""
    stored: list[tuple[Path, np.ndarray, StoredMask]] = []
    arrays, mistakes = [], []
    for path, mask_path in pairs.annotated:
        try:
            image = read_image(path)
            _check_proportions(path, image, size)
            stored.append((path, image, read_mask(mask_path)))
        except (AnnotationError, ImageError) as error:
            mistakes.append(str(error))
    by_color = greys_are_colors([mask for _, _, mask in stored], scheme)
    for path, image, mask in stored:
        try:
            ids = class_ids(mask, scheme, greys_are_colors=by_color)
            _check_mask(path, image, ids, scheme, allowed)
            arrays.append(_resized(image, ids.astype(np.uint8), size))
        except AnnotationError as error:
            mistakes.append(str(error))
    return arrays, mistakes


def _check_proportions(path: Path, image: np.ndarray, size: tuple[int, int]) -> None:
    if image.shape[0] * size[1] != image.shape[1] * size[0]:
        raise AnnotationError(
            f"{path.name} is {_size(image)}, the model's images are {size[1]}x{size[0]}; cut it to their proportions"
        )


def _check_mask(path: Path, image: np.ndarray, mask: Ids, scheme: Scheme, allowed: set[int]) -> None:
    if mask.shape != image.shape[:2]:
        raise AnnotationError(f"the mask of {path.name} is {_size(mask)}, its image {_size(image)}")
    outside = sorted(set(np.unique(mask).tolist()) - allowed)
    if outside:
        more = f" and {len(outside) - _SHOWN} more" if len(outside) > _SHOWN else ""
        raise AnnotationError(
            f"the mask of {path.name} has class {', '.join(map(str, outside[:_SHOWN]))}{more}; "
            f"scheme.toml has 0 to {len(scheme) - 1}, and {IGNORE} is ignored"
        )


def _resized(image: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """As the publication does it: the image bilinearly with antialiasing, of the mask every h / height-th pixel."""
    if mask.shape == size:
        return image, mask
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, mask.shape, strict=True))
    small = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(small), mask[np.ix_(rows, columns)]


def _size(array: np.ndarray) -> str:
    return "x".join(str(side) for side in array.shape[1::-1])

"""Images of any size brought to a model's: stretched to it, or padded to it."""

from collections.abc import Callable

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from generate.settings import PhotographFit


def resized(array: np.ndarray, size: tuple[int, int], how: Resampling = Resampling.BILINEAR) -> np.ndarray:
    """At `size` (height, width). It is a copy, since torch takes no read-only array."""
    height, width = size
    return np.array(Image.fromarray(array).resize((width, height), how))


def stretched(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """All of the image at `size` (height, width); shapes are distorted unless the proportions agree."""
    return resized(image, size)


def padded(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[slice, slice]]:
    """The image in proportion, as large as `size` allows, its edges repeated around it; and where in it it lies."""
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    fitting = max(1, round(scale * height)), max(1, round(scale * width))
    return surrounded(resized(image, fitting), size)


def surrounded(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[slice, slice]]:
    """The image in the middle of a larger one whose edges repeat its own, and where in it the image lies."""
    height, width = image.shape[:2]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    around = (top, size[0] - height - top), (left, size[1] - width - left), (0, 0)
    return np.pad(image, around, mode="edge"), np.s_[top : top + height, left : left + width]


FRAMES: dict[PhotographFit, Callable[[np.ndarray, tuple[int, int]], np.ndarray]] = {
    "stretch": stretched,
    "pad": lambda image, size: padded(image, size)[0],
}
"""What becomes of an image of another size, by the name of its fit."""

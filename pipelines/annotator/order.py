"""Which images to annotate next: those that the interpreter does not know, and that are unlike those that are done."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor


def pooled(maps: Sequence[Float[Tensor, "1 _ _ _"]]) -> Float[np.ndarray, " channels"]:
    """An image as the means of its maps."""
    return np.concatenate([m.float().mean((0, 2, 3)).cpu().numpy() for m in maps])


def farthest(pooled: Float[np.ndarray, "n channels"], done: Float[np.ndarray, "m channels"]) -> Float[np.ndarray, " n"]:
    """How far each image is from the nearest that is done, as a share of the farthest, in standardised features.

    Where none is done, how near it is to the middle of all: the first image is a usual one.
    """
    both = np.concatenate([pooled, done])
    scale = both.std(axis=0) + 1e-6
    if len(done):
        distances = np.stack([np.linalg.norm((pooled - one) / scale, axis=1) for one in done]).min(axis=0)
    else:
        off = np.linalg.norm((pooled - both.mean(axis=0)) / scale, axis=1)
        distances = off.max(initial=0) - off
    return distances / (distances.max(initial=0) or 1.0)


def order(doubt: Float[np.ndarray, " n"], distance: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """What to annotate next comes highest: doubt as a share of the highest, plus distance. 0 to 2."""
    return doubt / (doubt.max(initial=0) or 1.0) + distance


def chosen(
    images: Float[np.ndarray, "n channels"],
    done: Float[np.ndarray, "m channels"],
    doubt: Float[np.ndarray, " n"],
    count: int,
) -> list[int]:
    """So many images, each the one that comes next after those that are done or were chosen before it."""
    found: list[int] = []
    while len(found) < count:
        value = order(doubt, farthest(images, np.concatenate([done, images[found]])))
        value[found] = -1
        found.append(int(value.argmax()))
    return found

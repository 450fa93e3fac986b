"""Which images are worth most to annotate next: those like many that the interpreter does not know."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Pooled = Float[np.ndarray, "_ channels"]


def pooled(maps: Sequence[Float[Tensor, "1 _ _ _"]]) -> Float[np.ndarray, " channels"]:
    """An image as the means of its maps."""
    return np.concatenate([m.float().mean((0, 2, 3)).cpu().numpy() for m in maps])


def worth(images: Pooled, seen: Pooled, doubt: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """What annotating each image would tell of all of them, as a share of the most.

    It is the sum, over all images, of how much nearer they would have an annotated one than any that was seen, in
    standardised features, each weighted by its doubt (facility location). So neither an odd image comes first, which
    tells nothing of others, nor one like those that are done.
    """
    both = np.concatenate([images, seen])
    scaled = torch.from_numpy((both - both.mean(axis=0)) / (both.std(axis=0) + 1e-6))
    between = torch.cdist(scaled, scaled).numpy()
    here, done = between[: len(images), : len(images)], between[: len(images), len(images) :]
    nearest = done.min(axis=1) if len(seen) else np.full(len(images), between.max(initial=0))
    gain = (doubt[:, None] * np.clip(nearest[:, None] - here, 0, None)).sum(axis=0)
    return gain / (gain.max(initial=0) or 1.0)


def chosen(images: Pooled, seen: Pooled, doubt: Float[np.ndarray, " n"], count: int) -> list[int]:
    """So many images, each the one that is worth most beside those that were seen or chosen before it."""
    found: list[int] = []
    while len(found) < count:
        value = worth(images, np.concatenate([seen, images[found]]), doubt)
        value[found] = -1
        found.append(int(value.argmax()))
    return found

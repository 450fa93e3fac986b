"""How much of the real images samples cover, and how many samples lie among them (arXiv 1904.06991, equation 1)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from label import FeatureSource
from pipelines.errors import InputError

_NEIGHBOUR = 3  # the publication's k
_BATCH = 20


@dataclass(frozen=True)
class Diversity:
    """Shares, 0 to 1."""

    precision: float  # of the samples, inside the real images' manifold
    recall: float  # of the real images, inside the samples' manifold


def describe_images(source: FeatureSource, images: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n channels"]:
    """One vector an image: the mean over space of every channel of the source's maps."""
    batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    return torch.cat([torch.cat([m.mean((2, 3)) for m in source.maps(batch)], dim=1).cpu() for batch in batches])


def precision_recall(real: Float[Tensor, "n channels"], samples: Float[Tensor, "m channels"]) -> Diversity:
    """The manifold of a set: balls around its members, each as wide as the distance to its third neighbour.

    Channels are scaled to the real images' deviation first, so that none decides by its unit. Raises InputError for
    sets of fewer than four.
    """
    if min(len(real), len(samples)) <= _NEIGHBOUR:
        raise InputError(
            f"{len(real)} real images and {len(samples)} samples came; at least 4 of each are needed to compare them"
        )
    scale = real.std(0).clamp_min(1e-6)
    real, samples = (real / scale).double(), (samples / scale).double()
    return Diversity(precision=_inside(samples, real), recall=_inside(real, samples))


def _inside(points: Tensor, members: Tensor) -> float:
    """Share of the points that lie in at least one member's ball."""
    radii = torch.cdist(members, members).kthvalue(_NEIGHBOUR + 1, dim=1).values  # the nearest is the member itself
    return (torch.cdist(points, members) <= radii).any(1).double().mean().item()

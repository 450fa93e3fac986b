"""How much of the real images samples cover, and how many samples lie among them (arXiv 1904.06991, equation 1)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from label import FeatureSource
from pipelines.errors import InputError

FEWEST = 4  # of a set that can be compared
BATCH = 20  # images that are described at once
_NEIGHBOUR = 3  # the publication's k
_ROWS = 512  # of a matrix of distances that are in memory together


@dataclass(frozen=True, eq=False)
class Diversity:
    """Shares, 0 to 1, and which they are the shares of."""

    samples_inside: Bool[np.ndarray, " samples"]  # which of the samples lie in the real images' manifold
    real_inside: Bool[np.ndarray, " real"]  # which of the real images lie in the samples' manifold

    @property
    def precision(self) -> float:
        """Share of the samples that lie in the real images' manifold."""
        return float(self.samples_inside.mean())

    @property
    def recall(self) -> float:
        """Share of the real images that lie in the samples' manifold."""
        return float(self.real_inside.mean())


def describe_images(source: FeatureSource, images: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n channels"]:
    """One vector an image: the mean over space of every channel of the source's maps."""
    return torch.cat(list(described(source, (images[start : start + BATCH] for start in range(0, len(images), BATCH)))))


def described(
    source: FeatureSource, batches: Iterable[UInt8[np.ndarray, "b h w 3"]]
) -> Iterator[Float[Tensor, "b channels"]]:
    """The same of images that come in batches."""
    for batch in batches:
        yield torch.cat([native.mean((2, 3)) for native in source.maps(batch)], dim=1).cpu()


def in_units_of(real: Float[Tensor, "n channels"]) -> Float[Tensor, " channels"]:
    """What every channel is divided by, so that none decides by its unit: the real images' deviation."""
    return real.std(0).clamp_min(1e-6)


def precision_recall(real: Float[Tensor, "n channels"], samples: Float[Tensor, "m channels"]) -> Diversity:
    """The manifold of a set: balls around its members, each as wide as the distance to its third neighbour.

    Channels are scaled to the real images' deviation first, so that none decides by its unit. Raises InputError for
    sets of fewer than four.
    """
    if min(len(real), len(samples)) < FEWEST:
        raise InputError(
            f"{len(real)} real images and {len(samples)} samples came; at least {FEWEST} of each are needed to compare "
            "them"
        )
    scale = in_units_of(real)
    real, samples = (real / scale).double(), (samples / scale).double()
    return Diversity(samples_inside=_inside(samples, real), real_inside=_inside(real, samples))


def _inside(points: Tensor, members: Tensor) -> Bool[np.ndarray, " points"]:
    """Which of the points lie in at least one member's ball."""
    # the nearest member is the member itself
    balls = [torch.cdist(some, members).kthvalue(_NEIGHBOUR + 1, dim=1).values for some in members.split(_ROWS)]
    radii = torch.cat(balls)
    return torch.cat([(torch.cdist(some, members) <= radii).any(1) for some in points.split(_ROWS)]).numpy()

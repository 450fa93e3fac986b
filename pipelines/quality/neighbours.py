"""Nearest neighbours among images, each image being a vector of features."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_ROWS = 512  # of a matrix of distances that are in memory together


@dataclass(frozen=True)
class Nearest:
    """Of every point its nearest member; of several that are equally near the first."""

    member: Int[np.ndarray, " points"]
    distance: Float[np.ndarray, " points"]


def nearest(points: Float[Tensor, "n channels"], members: Float[Tensor, "m channels"]) -> Nearest:
    """Search all members, some rows at a time."""
    return _searched(points, members, but_itself=False)


def nearest_other(points: Float[Tensor, "n channels"]) -> Nearest:
    """Of each of at least two points the nearest of the others."""
    return _searched(points, points, but_itself=True)


def typical_distance(points: Float[Tensor, "n channels"], most: int = 1000) -> float:
    """Median distance of two different ones of at least two points; of many, `most` evenly over them are looked at."""
    distances = torch.pdist(points[evenly(len(points), most)].double())
    return distances.median().item()


def evenly(count: int, most: int) -> list[int]:
    """Places of `most` among `count` things, evenly over them with the first and the last; all of them where they are
    no more."""
    if count <= most:
        return list(range(count))
    return np.linspace(0, count - 1, most).round().astype(int).tolist()


def _searched(points: Tensor, members: Tensor, *, but_itself: bool) -> Nearest:
    members = members.double()
    points = members if but_itself else points.double()
    found, exact = list[Tensor](), list[Tensor]()
    for start in range(0, len(points), _ROWS):
        some = points[start : start + _ROWS]
        distances = torch.cdist(some, members)
        if but_itself:
            distances.diagonal(start).fill_(torch.inf)
        found.append(distances.argmin(1))  # of equal ones the first
        exact.append((some - members[found[-1]]).norm(dim=1))  # a matrix product loses the last bits of what is near 0
    return Nearest(torch.cat(found).numpy(), torch.cat(exact).numpy())

"""Which candidates of a unit stay: exact counts, by scores of that unit alone, so that nothing is coordinated."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from label.settings import PUBLISHED_FILTER_SKIPS, Filter


@dataclass(frozen=True)
class Judged:
    """What is known of a unit's candidates."""

    uncertainty: Float[Tensor, " n"]  # of each image, nats
    class_pixels: Int[Tensor, "n classes"]
    class_uncertainty: Float[Tensor, "n classes"]  # mean over the pixels of a class in an image, nats; 0 without any


@dataclass(frozen=True)
class Kept:
    """What stays."""

    indices: list[int]  # sorted
    kept_for: dict[int, int] = field(default_factory=dict)  # of those that stay for the sake of a class: its id


def keep_most_certain(scores: Float[Tensor, " n"], portion: float) -> Int[Tensor, " kept"]:
    """Sorted indices of the n - int(n * portion) lowest scores; of equal ones the earlier stay.

    Raises ValueError unless 0 <= portion < 1.
    """
    kept = len(scores) - _dropped(scores, portion)
    return torch.argsort(scores, stable=True)[:kept].sort().values


def keep_published(scores: Float[Tensor, " n"], portion: float) -> Int[Tensor, " kept"]:
    """Sorted indices that the public implementation of arXiv 2112.03126 keeps, its fault included.

    It leaves out the 30 lowest scores and the int(n * portion) - 30 highest, so it keeps nothing where
    int(n * portion) is 30 or less. Raises ValueError unless 0 <= portion < 1.
    """
    first = PUBLISHED_FILTER_SKIPS
    return torch.argsort(scores, stable=True)[first : first - _dropped(scores, portion)].sort().values


def keep_balanced(judged: Judged, portion: float) -> Kept:
    """The n - int(n * portion) candidates that stay if no class loses more than `portion` of its holders.

    A holder of a class has a pixel of it. From the rarest class on, each keeps as many of its most certain holders, as
    long as there is room; the most certain of the others fill it. Of equal ones the earlier stay.
    """
    holds, order = judged.class_pixels > 0, torch.argsort(judged.uncertainty, stable=True).tolist()
    room, holders = len(order) - _dropped(judged.uncertainty, portion), holds.sum(0).tolist()
    taken: dict[int, int] = {}
    for class_id in sorted(range(len(holders)), key=lambda each: holders[each]):
        its = [i for i in order if holds[i, class_id]]
        quota = len(its) - int(len(its) * portion) - sum(i in taken for i in its)
        more = [i for i in its if i not in taken][: max(0, min(quota, room - len(taken)))]
        taken |= dict.fromkeys(more, class_id)
    rest = [i for i in order if i not in taken][: room - len(taken)]
    certain = set(order[:room])
    return Kept(sorted([*taken, *rest]), {i: taken[i] for i in sorted(taken) if i not in certain})


def class_wise_scores(judged: Judged) -> Float[Tensor, " n"]:
    """How unsure an image is for what it shows: mean over its classes of their uncertainty there over that in the unit.

    So an image is compared, class by class, with others that hold the class, as FreeMask (arXiv 2310.15160) compares
    a pixel with the mean of its class: a class that is hard everywhere costs no image its place.
    """
    pixels, nats = judged.class_pixels.double(), judged.class_uncertainty.double()
    of_class = (nats * pixels).sum(0) / pixels.sum(0).clamp_min(1)
    holds = pixels > 0
    ratios = torch.where(holds & (of_class > 0), nats / of_class.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return ratios.sum(1) / holds.sum(1).clamp_min(1)


FILTERS: dict[Filter, Callable[[Judged, float], Kept]] = {
    "most_certain": lambda judged, portion: Kept(keep_most_certain(judged.uncertainty, portion).tolist()),
    "balanced": keep_balanced,
    "class_wise": lambda judged, portion: Kept(keep_most_certain(class_wise_scores(judged), portion).tolist()),
    "published": lambda judged, portion: Kept(keep_published(judged.uncertainty, portion).tolist()),
}


def _dropped(scores: Tensor, portion: float) -> int:
    if not 0 <= portion < 1:
        raise ValueError(f"portion is {portion}; the share to drop is at least 0 and less than 1")
    return int(len(scores) * portion)

"""How well predicted masks agree with the truth.

There are two ways of counting.
"skip": pixels without truth do not count. A class that is nowhere is left out of the mean.
"zero", the published way: a prediction on a pixel without truth is a false positive. A class that is nowhere counts 0.
Under both, the ignored class itself has no IoU.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_confusion_matrix

from deeplab.errors import BatchError
from deeplab.images import Batch, as_tensor
from deeplab.model import predict

Absent = Literal["skip", "zero"]
IntegerMasks = Integer[np.ndarray, "n h w"] | Integer[Tensor, "n h w"]


@dataclass(frozen=True, eq=False)  # arrays have no single truth of equality
class Scores:
    """What a network reaches on a set of images, counted both ways."""

    mean_iou: float  # absent classes skipped; 0 to 1, nan if no class counts
    iou: tuple[float | None, ...]  # of each class; None if it does not count
    published_mean_iou: float  # absent classes as 0, false positives on pixels without truth
    published_iou: tuple[float | None, ...]
    pixel_accuracy: float  # portion of the labelled pixels that are right; nan if there are none
    confusion: Int[np.ndarray, "truth predicted"]  # labelled pixels


def mean_iou(
    predictions: IntegerMasks,
    targets: IntegerMasks,
    *,
    classes: int,
    ignore_index: int,
    absent: Absent = "skip",
    excluded: Collection[int] = (),
) -> float:
    """Mean over the classes of intersection / union, each summed over all images: 0 to 1, nan if no class counts.

    Predictions hold 0 to classes - 1, targets ignore_index besides; anything else is a BatchError. `excluded` classes
    are left out of the mean under both rules: those whose pixels became ignore_index when the truth was read.
    """
    confusion = _confusion(as_tensor(predictions), as_tensor(targets), classes, ignore_index)
    return _mean(_ious(confusion, {ignore_index, *excluded}, absent))


def evaluate(
    model: nn.Module, batches: Iterable[Batch], *, classes: int, ignore_index: int, excluded: Collection[int] = ()
) -> Scores:
    """Predict every image and count, as mean_iou does; leaves the model in eval mode. No batch is a BatchError."""
    confusion = None
    for images, masks in batches:
        counted = _confusion(as_tensor(predict(model, images)), as_tensor(masks), classes, ignore_index)
        confusion = counted if confusion is None else confusion + counted
    if confusion is None:
        raise BatchError("there is no batch to evaluate on; one image with its mask is the least")
    return _scores(confusion, {ignore_index, *excluded})


def score(
    predictions: IntegerMasks,
    targets: IntegerMasks,
    *,
    classes: int,
    ignore_index: int,
    excluded: Collection[int] = (),
) -> Scores:
    """As evaluate, of masks that are in hand."""
    confusion = _confusion(as_tensor(predictions), as_tensor(targets), classes, ignore_index)
    return _scores(confusion, {ignore_index, *excluded})


def _scores(confusion: Int[Tensor, "rows classes"], excluded: Collection[int]) -> Scores:
    skipping, published = (_ious(confusion, excluded, rule) for rule in get_args(Absent))
    labelled = confusion[:-1]
    return Scores(
        mean_iou=_mean(skipping),
        iou=_known(skipping),
        published_mean_iou=_mean(published),
        published_iou=_known(published),
        pixel_accuracy=float(labelled.diag().sum().double() / labelled.sum()),
        confusion=labelled.numpy(),
    )


def _known(ious: Float[Tensor, " classes"]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else value for value in ious.tolist())


def _confusion(predictions: Tensor, targets: Tensor, classes: int, ignore_index: int) -> Int[Tensor, "rows classes"]:
    """Pixels by truth (rows) and prediction; the last row, one more than classes, holds the pixels without truth."""
    if predictions.shape != targets.shape:
        raise BatchError(
            f"predictions are {list(predictions.shape)} and targets {list(targets.shape)}; they must agree"
        )
    predictions, targets = predictions.cpu().long(), targets.cpu().long()
    ignored = targets == ignore_index
    _check_ids("prediction", predictions, classes)
    _check_ids("target", targets[~ignored], classes)
    targets = targets.masked_fill(ignored, classes)
    return multiclass_confusion_matrix(predictions, targets, classes + 1, validate_args=False)[:, :classes]


def _check_ids(mask: str, ids: Tensor, classes: int) -> None:
    wrong = ids[(ids < 0) | (ids >= classes)]
    if len(wrong):
        raise BatchError(f"a {mask} holds class {int(wrong[0])}; there are 0 to {classes - 1}")


def _ious(
    confusion: Int[Tensor, "rows classes"], excluded: Collection[int], absent: Absent
) -> Float[Tensor, " classes"]:
    """Intersection / union of each class, nan where it does not count."""
    if absent not in ("skip", "zero"):
        raise BatchError(f'absent is {absent!r}; it is "skip" or "zero"')
    labelled, unlabelled = confusion[:-1], confusion[-1]
    hits = labelled.diag()
    union = labelled.sum(0) + labelled.sum(1) - hits
    if absent == "zero":
        union = (union + unlabelled).clamp_min(1)
    ious = hits.double() / union  # 0 / 0 is nan
    left_out = torch.tensor([class_id in excluded for class_id in range(len(ious))])
    return ious.masked_fill(left_out, math.nan)


def _mean(ious: Float[Tensor, " classes"]) -> float:
    return float(ious.nanmean())

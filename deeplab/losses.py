"""What a training step makes smaller: cross entropy, alone or with a second term of segmentation_models_pytorch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from segmentation_models_pytorch.losses import DiceLoss, FocalLoss
from torch import Tensor

from deeplab.parallel import summed
from deeplab.settings import Loss


def cross_entropy(
    logits: Float[Tensor, "b classes h w"],
    masks: Int[Tensor, "b h w"],
    weights: Float[Tensor, " classes"],
    ignore_index: int,
) -> Float[Tensor, ""]:
    """In nats: the mean over all pixels that are not ignored, weighted by class; 0 if all are ignored.

    With several workers it is this worker's part of the mean over the pixels of all. The parts add up to that mean.
    """
    total = F.cross_entropy(logits, masks, weights, ignore_index=ignore_index, reduction="none").sum()  # in one order
    known = masks != ignore_index
    weight = summed((weights[masks.where(known, 0)] * known).sum())  # selecting them would make a GPU wait
    return total / weight.clamp_min(torch.finfo(total.dtype).tiny)


def _dice(logits: Tensor, masks: Tensor, ignore_index: int) -> Tensor:
    """1 - the Dice coefficient of each class that the batch holds, mean over classes."""
    return DiceLoss("multiclass", ignore_index=ignore_index)(logits, masks)


def _focal(logits: Tensor, masks: Tensor, ignore_index: int) -> Tensor:
    """Focal loss (arXiv 1708.02002, gamma 2), each class against the rest; mean over classes and labelled pixels."""
    total = FocalLoss("multiclass", ignore_index=ignore_index, reduction="sum")(logits, masks)
    return total / (masks != ignore_index).sum().clamp_min(1)


SECOND_TERMS: dict[Loss, Callable[[Tensor, Tensor, int], Tensor] | None] = {
    "cross_entropy": None,
    "cross_entropy+dice": _dice,
    "cross_entropy+focal": _focal,
}


def loss_of(
    name: Loss, logits: Tensor, masks: Tensor, weights: Float[Tensor, " classes"], ignore_index: int
) -> Float[Tensor, ""]:
    """The named loss of one batch; the second term is not weighted by class."""
    loss, second = cross_entropy(logits, masks, weights, ignore_index), SECOND_TERMS[name]
    return loss if second is None else loss + second(logits, masks, ignore_index)

"""The training loop, as a generator: the caller owns logging, stopping and validation."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from deeplab.model import as_tensor, prepare

Batch = tuple[
    UInt8[np.ndarray, "b h w 3"] | UInt8[Tensor, "b h w 3"], UInt8[np.ndarray, "b h w"] | UInt8[Tensor, "b h w"]
]
Schedule = Literal["constant", "cosine"]
SCHEDULES: dict[str, Callable[[float], float]] = {  # portion of the steps done -> factor of the learning rate
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


@dataclass(frozen=True)
class Step:
    """What one optimiser step reports."""

    number: int  # counted from 1
    loss: float  # mean cross entropy of the batch's labelled pixels before the step, weighted, nats
    learning_rate: float


def fit(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    steps: int,
    learning_rate: float = 1e-3,
    schedule: Schedule = "cosine",
    class_weights: Sequence[float] | None = None,
    ignore_index: int = 255,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Iterator[Step]:
    """Train the model in place with Adam, one batch a step, and yield after each step.

    Images are 0 to 255, masks hold class ids and ignore_index. A pixel counts by its class's weight, all alike by
    default; the inverse root of each class's frequency lets small classes be learnt in few steps.

    Between steps the model may be evaluated or saved. Dropout is a function of (seed, step), not of the global
    generator. Batches may differ in size; one of a single image trains too, except that the image-pooling branch
    normalises it by its running statistics.

    Raises ValueError for settings, images or masks that do not fit, and if the batches end before the steps do.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps were asked for; training needs at least 1")
    if schedule not in SCHEDULES:
        raise ValueError(f"there is no schedule {schedule!r}; there are {', '.join(SCHEDULES)}")
    rates = (learning_rate * SCHEDULES[schedule](step / steps) for step in range(steps))
    return _train(model, batches, list(rates), class_weights, ignore_index, seed, torch.device(device))


def _train(
    model: nn.Module,
    batches: Iterable[Batch],
    rates: list[float],
    class_weights: Sequence[float] | None,
    ignore_index: int,
    seed: int,
    device: torch.device,
) -> Iterator[Step]:
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters())
    source = iter(batches)
    for number, rate in enumerate(rates, 1):
        batch = next(source, None)
        if batch is None:
            raise ValueError(f"the batches ended after {number - 1} of {len(rates)} steps; repeat them or ask for less")
        images, masks = prepare(batch[0], device), as_tensor(batch[1])
        logits = _forward(model.train(), images, seed, number)
        check_masks(masks, logits, ignore_index)
        weights = _weights(class_weights, logits)
        loss = cross_entropy(logits, masks.to(device).long(), weights, ignore_index)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield Step(number, loss.item(), rate)


def cross_entropy(
    logits: Float[Tensor, "b classes h w"],
    masks: Int[Tensor, "b h w"],
    weights: Float[Tensor, "classes"],
    ignore_index: int,
) -> Float[Tensor, ""]:
    """Mean over the pixels that are not ignored, each weighted by its class, in nats; 0 if all are ignored."""
    total = F.cross_entropy(logits, masks, weights, ignore_index=ignore_index, reduction="sum")
    return total / weights[masks[masks != ignore_index]].sum().clamp_min(torch.finfo(total.dtype).tiny)


def check_masks(masks: Tensor, logits: Tensor, ignore_index: int) -> None:
    """Raises ValueError unless the masks have the logits' size and hold class ids and ignore_index alone."""
    batch, classes, *size = logits.shape
    if list(masks.shape) != [batch, *size]:
        raise ValueError(f"masks are {list(masks.shape)} where their images need {[batch, *size]}")
    highest = int(masks.masked_fill(masks == ignore_index, 0).max())
    if highest >= classes:
        raise ValueError(
            f"a mask holds class {highest}; the network has 0 to {classes - 1}, and {ignore_index} is ignored"
        )


def _forward(model: nn.Module, images: Tensor, seed: int, step: int) -> Tensor:
    """The logits, with dropout drawn from (seed, step); the global generator stays as it was."""
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))
        return model(images)


def _weights(class_weights: Sequence[float] | None, logits: Tensor) -> Float[Tensor, "classes"]:
    classes = logits.shape[1]
    if class_weights is None:
        return logits.new_ones(classes)
    if len(class_weights) != classes:
        raise ValueError(f"{len(class_weights)} class weights came for a network of {classes} classes")
    return logits.new_tensor(class_weights)

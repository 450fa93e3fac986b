"""Train all members at once, each on its own order of the pixels and each until its own end.

Batches, rate and stopping follow arXiv 2112.03126 (appendix) and its public implementation: Adam, cross entropy;
from the fifth epoch on a member stops after `patience` batches in a row without a new lowest batch loss.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from generate.seeds import generator
from label.errors import AnnotationError, FittingError
from label.pixel_classifiers import PixelClassifiers
from label.pixel_source import PixelSource
from label.schemes import IGNORE
from label.settings import Fitting

_EPOCHS_BEFORE_STOPPING = 4


@dataclass(frozen=True)
class FitStep:
    """One batch of every member that is still training."""

    number: int  # counted from 1
    most: int  # batches if no member stops early
    training: int  # members that have not stopped
    loss: float  # mean over them


@dataclass(frozen=True)
class LabelledPixels:
    """Where the annotated pixels are, and their classes."""

    image: Int[Tensor, " p"]
    row: Int[Tensor, " p"]
    column: Int[Tensor, " p"]
    label: Int[Tensor, " p"]


def labelled_pixels(masks: UInt8[np.ndarray, "n h w"], min_class_pixels: int) -> LabelledPixels:
    """All pixels with a class, but for classes that are too small in their image.

    Raises AnnotationError when none are left.
    """
    kept = masks.copy()
    for mask in kept:
        classes, counts = np.unique(mask, return_counts=True)
        mask[np.isin(mask, classes[counts < min_class_pixels])] = IGNORE
    image, row, column = np.nonzero(kept != IGNORE)
    if len(image) == 0:
        raise AnnotationError(f"no annotated pixels are left: no class has {min_class_pixels} pixels in any image")
    label = kept[image, row, column].astype(np.int64)
    as_tensor = torch.from_numpy
    return LabelledPixels(as_tensor(image), as_tensor(row), as_tensor(column), as_tensor(label))


def fit_members(
    classifiers: PixelClassifiers, source: PixelSource, pixels: LabelledPixels, settings: Fitting
) -> Iterator[FitStep]:
    """Train in place, a step at a time. Member m is a function of (settings.seed, m) and the pixels."""
    device = next(classifiers.parameters()).device
    generators = [generator(settings.seed, member) for member in range(settings.members)]
    classifiers.initialise(generators)
    classifiers.train()
    optimizer = torch.optim.Adam(classifiers.parameters(), settings.learning_rate, fused=True)
    if settings.standardise:
        source = source.standardised()
    kept_on = source.maps[0].device
    image, row, column = (places.to(kept_on) for places in (pixels.image, pixels.row, pixels.column))
    label = pixels.label.to(device)
    total, stopping = settings.batches(len(pixels.label)), _EarlyStopping(classifiers, settings.patience)
    for number, (epoch, chosen) in enumerate(_orders(pixels.label, settings, generators)):
        if number == total or not stopping.running.any():
            break
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(number, total)
        chosen = chosen.to(kept_on, non_blocking=True)
        features = source.gather(image[chosen], row[chosen], column[chosen]).to(device)
        logits, labels = classifiers(features), label[chosen.to(device, non_blocking=True)]
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(1)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        shown = losses.detach().cpu()  # the only place where a GPU is waited for
        _must_be_finite(shown, number + 1)
        if epoch >= _EPOCHS_BEFORE_STOPPING:
            stopping.see(shown)
        running = stopping.running
        mean = (shown[running] if running.any() else shown).mean().item()
        yield FitStep(number + 1, total, int(running.sum()), mean)
    stopping.restore()
    if source.scales is not None and source.shifts is not None:
        classifiers.take_scaling(torch.cat(source.scales).to(device), torch.cat(source.shifts).to(device))
    classifiers.eval()


def _must_be_finite(losses: Float[Tensor, " members"], batch: int) -> None:
    """Raises FittingError, which names the batch, where a member's loss is nan or infinite."""
    wrong = losses[~losses.isfinite()]
    if len(wrong):
        raise FittingError(
            f"the loss is {wrong[0].item()} at batch {batch}; lower interpreter.learning_rate, or see the denoiser, "
            "whose features may not be finite"
        )


def _orders(
    labels: Int[Tensor, " p"], settings: Fitting, generators: list[torch.Generator]
) -> Iterator[tuple[int, Int[Tensor, "members batch"]]]:
    """Yield the epoch and the pixels of a batch, without end; each member draws for itself, a rest is left out."""
    pixels, batch_size = len(labels), min(settings.batch_size, len(labels))
    weights = torch.bincount(labels).float().rsqrt()[labels]
    for epoch in itertools.count():
        if settings.draw == "balanced":
            orders = torch.stack(
                [torch.multinomial(weights, pixels, replacement=True, generator=g) for g in generators]
            )
        else:
            orders = torch.stack([torch.randperm(pixels, generator=g) for g in generators])
        for start in range(0, pixels - batch_size + 1, batch_size):
            yield epoch, orders[:, start : start + batch_size]


class _EarlyStopping:
    """Remembers the weights that a member had when it stopped, while the others go on."""

    def __init__(self, classifiers: PixelClassifiers, patience: int) -> None:
        self._classifiers, self._patience = classifiers, patience
        members = classifiers.members
        self._lowest = torch.full((members,), torch.inf)
        self._waited = torch.zeros(members, dtype=torch.long)
        self._kept: dict[int, dict[str, Tensor]] = {}

    @property
    def running(self) -> Tensor:
        """Which members have not stopped, bool [members]."""
        mask = torch.ones(len(self._lowest), dtype=torch.bool)
        mask[list(self._kept)] = False
        return mask

    def see(self, losses: Tensor) -> None:
        lower = losses < self._lowest
        self._lowest = torch.where(lower, losses, self._lowest)
        self._waited = torch.where(lower, 0, self._waited + 1)
        for member in torch.nonzero((self._waited > self._patience) & self.running).flatten().tolist():
            state = self._classifiers.state_dict()
            self._kept[member] = {name: tensor[member].clone() for name, tensor in state.items()}

    def restore(self) -> None:
        state = self._classifiers.state_dict()
        for member, kept in self._kept.items():
            for name, tensor in kept.items():
                state[name][member] = tensor

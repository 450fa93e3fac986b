"""The training loop, as a generator: the caller owns logging, stopping, validation and checkpoints."""

import copy
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from deeplab.dropout import seed_dropout
from deeplab.errors import BatchError, NetworkError
from deeplab.images import Batch, as_tensor, check_masks, prepare, sent
from deeplab.losses import loss_of
from deeplab.parallel import rank, sum_gradients, summed, synchronise_batch_norm, workers
from deeplab.settings import Optimisation


@dataclass(frozen=True)
class Step:
    """What one optimiser step reports."""

    number: int  # counted from 1
    loss: float  # of the step's batches, before the step; cross entropy in nats, and the second term
    learning_rate: float
    seconds: float  # since the step before, or the start
    waited: float  # of them, fetching batches, the next step's first one included; a GPU works meanwhile


def fit(
    model: nn.Module,
    batches: Iterable[Batch],
    optimisation: Optimisation | None = None,
    *,
    class_weights: Sequence[float] | None = None,
    ignore_index: int = 255,
    seed: int = 0,
    device: str | torch.device = "cpu",
    **settings: Any,
) -> Iterator[Step]:
    """Train the model in place and yield after each step; as Trainee, without restarts.

    How it is trained is given as an Optimisation or by keywords, the fields of Optimisation, which stand over it.
    Raises DeepLabError for settings, images or masks that do not fit, and if the batches end before the steps do.
    """
    optimisation = replace(optimisation or Optimisation(), **settings)
    trainee = Trainee(
        model, optimisation, class_weights=class_weights, ignore_index=ignore_index, seed=seed, device=device
    )
    return trainee.train(batches)


class Trainee:
    """A network in training with all that a restart needs: `state()` of one, given to another by `restore()`.

    Images are 0 to 255, masks hold class ids and ignore_index. A pixel counts by its class's weight; without weights
    all count alike. Dropout is a function of (seed, step, place in the step), not of the global generator: no other
    random state exists, so that the number of steps done is all of it.
    Where torch.distributed has a process group, `batches` are this worker's part, the rank-th, of the common ones.
    """

    def __init__(
        self,
        model: nn.Module,
        optimisation: Optimisation,
        *,
        class_weights: Sequence[float] | None = None,
        ignore_index: int = 255,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.optimisation, self.device = optimisation, torch.device(device)
        self.class_weights, self.ignore_index, self.seed = class_weights, ignore_index, seed
        if workers() > 1:
            synchronise_batch_norm(model)
        self.model = model.to(self.device)
        self.average = copy.deepcopy(self.model) if optimisation.ema_decay else None
        self.optimizer = torch.optim.Adam(model.parameters(), optimisation.learning_rate)
        self.done = 0  # steps
        self._half = optimisation.precision == "bfloat16" or (
            optimisation.precision == "auto" and self.device.type == "cuda"
        )

    @property
    def network(self) -> nn.Module:
        """What is to be evaluated and kept: the moving average, if there is one."""
        return self.average or self.model

    def train(self, batches: Iterable[Batch]) -> Iterator[Step]:
        """Take the steps that are not done yet; `batches` begin with the next one.

        Between steps the network may be evaluated or saved. Batches may differ in size; one of a single image trains
        too, except that the image-pooling branch normalises it by its running statistics. One batch is taken beyond
        the step that is yielded, unless that is the last, and none may be written to after it was handed out.
        """
        start, parts = time.perf_counter(), self.optimisation.accumulate
        source = _Ahead(islice(batches, max(0, self.optimisation.steps - self.done) * parts))
        while self.done < self.optimisation.steps:
            rate, losses = self.optimisation.rate(self.done), []
            self.optimizer.param_groups[0]["lr"] = rate
            self.optimizer.zero_grad()
            for part in range(parts):
                if part > 0:
                    source.fetch()
                if source.batch is None:
                    done = f"{self.done} of {self.optimisation.steps} steps"
                    raise BatchError(f"the batches ended after {done}; repeat them or ask for less")
                losses.append(self._backward(source.batch, part))
            sum_gradients(self.model)
            self.optimizer.step()
            self.done += 1
            self._follow()
            source.fetch()  # while a GPU works, for which the next line waits
            loss = summed(torch.stack(losses).sum()).item()
            if not math.isfinite(loss):
                raise BatchError(
                    f"the loss is {loss} at step {self.done}; lower the learning rate, or look at the data"
                )
            now = time.perf_counter()
            yield Step(self.done, loss, rate, now - start, source.read_waited())
            start = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """Tensors and numbers alone, which torch.load(weights_only=True) reads."""
        average = self.average and self.average.state_dict()
        return {
            "model": self.model.state_dict(),
            "average": average,
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; a NetworkError tells of one of another network."""
        try:
            self.model.load_state_dict(state["model"])
            if self.average:
                self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise NetworkError(f"the checkpoint is of a network of another architecture: {reason}") from error
        self.done = state["done"]

    def _backward(self, batch: Batch, part: int) -> Float[Tensor, ""]:
        """Add one batch's gradients; returns this worker's part of its share of the step's loss."""
        masks = as_tensor(batch[1])
        images, on_device = prepare(batch[0], self.device), sent(masks, self.device).long()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            logits = self._forward(images, part)
        logits = logits.float() if self._half else logits
        check_masks(masks, logits, self.ignore_index)
        weights = _weights(self.class_weights, logits)
        loss = loss_of(self.optimisation.loss, logits, on_device, weights, self.ignore_index)
        loss = loss / self.optimisation.accumulate
        loss.backward()
        return loss.detach()

    def _forward(self, images: Tensor, part: int) -> Tensor:
        """The logits in training mode; the global generator stays as it was."""
        here, common = len(images), len(images) * workers()
        places = range(part * common + rank() * here, part * common + (rank() + 1) * here)
        seeds = [_number(self.seed, self.done + 1, place) for place in places]
        seed_dropout(self.model, seeds, self.device)
        with torch.random.fork_rng(devices=[self.device] if images.is_cuda else []):
            torch.manual_seed(_number(self.seed, self.done + 1, part))
            return self.model.train()(images)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the model, faster at first: by 1 - min(decay, (1 + step) / (10 + step))."""
        if self.average is None:
            return
        decay = min(self.optimisation.ema_decay, (1 + self.done) / (10 + self.done))
        for average, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
            average.lerp_(now, 1 - decay)
        for average, now in zip(self.average.buffers(), self.model.buffers(), strict=True):
            average.copy_(now)


class _Ahead:
    """The batch whose turn it is; the next one is fetched when the caller says so. Remembers how long that took."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._source, self._waited = iter(batches), 0.0
        self.batch: Batch | None = None  # None: there are no more
        self.fetch()

    def fetch(self) -> None:
        asked = time.perf_counter()
        self.batch = next(self._source, None)
        self._waited += time.perf_counter() - asked

    def read_waited(self) -> float:
        """Seconds of waiting since this was read last."""
        waited, self._waited = self._waited, 0.0
        return waited


def _number(*seeds: int) -> int:
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])


def _weights(class_weights: Sequence[float] | None, logits: Tensor) -> Float[Tensor, " classes"]:
    classes = logits.shape[1]
    if class_weights is None:
        return logits.new_ones(classes)
    if len(class_weights) != classes:
        raise NetworkError(f"{len(class_weights)} class weights came for a network of {classes} classes")
    return sent(torch.tensor(class_weights, dtype=logits.dtype), logits.device)

"""Train a DDPM on images without labels (arXiv 2006.11239, algorithm 1; v prediction: arXiv 2202.00512).

The batch, noise and steps of an update are functions of (seed, update), so a run that was killed and started again
ends with the same weights as one that was not; how many workers share an update changes last bits alone.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel
from jaxtyping import Float
from torch import Tensor, nn

from generate.batches import Batch, batches, part_of_batch
from generate.batches import batch_of as batch_of
from generate.errors import TrainingError
from generate.objective import losses
from generate.pictures import Picture
from generate.pictures import image_paths as image_paths
from generate.pictures import read_square as read_square
from generate.schedule import Schedule
from generate.settings import Training
from generate.trainee import Trainee
from generate.trainee import build_unet as build_unet
from generate.trainee import trainee as trainee


@dataclass(frozen=True)
class Update:
    """What one optimiser step reports."""

    number: int  # counted from 1
    loss: float
    learning_rate: float


def _alone(model: nn.Module) -> None:
    """A single worker's gradients are the sum already."""


@dataclass(frozen=True)
class Workers:
    """The processes that share every update: which of them this is, and how they add up."""

    rank: int = 0
    count: int = 1
    sum_gradients: Callable[[nn.Module], None] = _alone
    summed: Callable[[Tensor], Tensor] = torch.clone


def learning_rate(update: int, settings: Training) -> float:
    """Linear warm-up, then half a cosine to 0."""
    if update < settings.warmup:
        return settings.learning_rate * (update + 1) / settings.warmup
    progress = (update - settings.warmup) / max(1, settings.updates - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def train(
    state: Trainee,
    schedule: Schedule,
    pictures: Sequence[Picture],
    settings: Training,
    checkpoint: Path,
    *,
    workers: Workers | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Update, None, None]:
    """Go on from state.done to settings.updates, saving to `checkpoint` every so often and at the end.

    `stop` is asked after every update: where any worker's says so, the update is saved, and the last. Of several
    workers the first saves. Raises TrainingError where the loss is not finite.
    """
    workers, size = workers or Workers(), int(state.unet.config["sample_size"])
    part = part_of_batch(settings, workers.rank, workers.count)
    if state.done >= settings.updates:
        return
    with closing(batches(pictures, size, schedule, settings, state.done, part)) as ahead:
        for batch in ahead:
            rate = learning_rate(state.done, settings)
            with _dropout(state.unet, settings.seed, state.done, workers.rank):
                loss = _backward(state, schedule, batch, settings)
            workers.sum_gradients(state.unet)
            total, asked = workers.summed(torch.stack([loss, loss.new_tensor(float(stop()))])).tolist()
            if not math.isfinite(total):
                raise TrainingError(
                    f"the loss is {total} at update {state.done + 1}; lower the learning rate, or look at the images"
                )
            _step(state, rate)
            is_last = state.done == settings.updates or asked > 0
            if workers.rank == 0 and (is_last or state.done % settings.checkpoint_every == 0):
                state.save(checkpoint)
            yield Update(state.done, total, rate)
            if is_last:
                return


def _backward(state: Trainee, schedule: Schedule, batch: Batch, settings: Training) -> Float[Tensor, ""]:
    """Add this worker's gradients, part by part; returns its share of the update's loss."""
    device = state.unet.device
    half = settings.precision == "bfloat16" or (settings.precision == "auto" and device.type == "cuda")
    values = settings.batch_size * batch.x_0[0].numel()
    shares = []
    for part in batch.parts(settings.accumulate, device):
        x_t = schedule.add_noise(part.x_0, part.t, part.noise)
        counted = part.t if schedule.time_scale == 1 else part.t * schedule.time_scale
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            output = state.unet(x_t, counted).sample
        share = losses(schedule, output.float(), part.x_0, part.t, part.noise, settings).sum() / values
        share.backward()
        shares.append(share.detach())
    return torch.stack(shares).sum()


def _step(state: Trainee, rate: float) -> None:
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    torch.nn.utils.clip_grad_norm_(state.unet.parameters(), 1.0)
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.ema.step(state.unet.parameters())
    state.done += 1


@contextmanager
def _dropout(unet: UNet2DModel, *seeds: int) -> Iterator[None]:
    """Of a network that drops any, what it drops is a function of the seeds; the global generator stays as it was."""
    if not any(isinstance(module, nn.Dropout) and module.p > 0 for module in unet.modules()):
        yield
        return
    with torch.random.fork_rng(devices=[unet.device] if unet.device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence([*seeds, 3]).generate_state(1)[0]))
        yield

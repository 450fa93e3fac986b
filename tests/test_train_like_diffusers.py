"""A training, update by update, against a plain loop of diffusers' and torch's parts: as its guide trains a UNet."""

import copy
from itertools import islice
from pathlib import Path
from typing import cast

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from making import noise_images
from torch.nn.functional import mse_loss

from generate import Schedule
from generate.batches import batches
from generate.settings import Network, Training
from generate.train import build_unet, learning_rate, train, trainee

NETWORK = Network(size=16, channels=(16, 32), attention=(8,))
SETTINGS = Training(updates=10, batch_size=4, warmup=3, ema_decay=0.6, mirror=True, crop="random")
SCHEDULE = Schedule.named("linear", "epsilon")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return noise_images(tmp_path, 10, (20, 24))


def by_diffusers(unet: UNet2DModel, paths: list[Path], updates: int) -> tuple[list[float], EMAModel]:
    """The losses of so many updates on the images, noise and steps of ours, and the average of the weights."""
    scheduler, losses = DDPMScheduler(), []
    optimizer = torch.optim.AdamW(unet.parameters(), lr=SETTINGS.learning_rate, weight_decay=1e-4, eps=1e-8)
    average = EMAModel(unet.parameters(), decay=SETTINGS.ema_decay)
    every = slice(0, SETTINGS.batch_size)
    for done, batch in enumerate(islice(batches(paths, 16, SCHEDULE, SETTINGS, 0, every), updates)):
        optimizer.param_groups[0]["lr"] = learning_rate(done, SETTINGS)
        steps = cast(torch.IntTensor, batch.t)
        loss = mse_loss(unet(scheduler.add_noise(batch.x_0, batch.noise, steps), batch.t).sample, batch.noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(unet.parameters())
        losses.append(loss.item())
    return losses, average


def together(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


@pytest.mark.parametrize("updates", [1, 10])
def test_the_same_batches_make_the_same_weights_as_diffusers(paths: list[Path], tmp_path: Path, updates: int) -> None:
    """Some 1e-3 from where they began. The bias of an attention's keys aside: its gradient is 0 but for rounding, and
    Adam makes that as large as any other."""
    unet = build_unet(NETWORK, 0)
    other, state = copy.deepcopy(unet), trainee(unet, SETTINGS)
    ours = [u.loss for u in islice(train(state, SCHEDULE, paths, SETTINGS, tmp_path / "c.pt"), updates)]
    losses, average = by_diffusers(other, paths, updates)
    assert ours == pytest.approx(losses, rel=1e-5)
    kept = [i for i, (name, _) in enumerate(unet.named_parameters()) if not name.endswith("to_k.bias")]
    pairs = [(list(unet.parameters()), list(other.parameters())), (state.ema.shadow_params, average.shadow_params)]
    for mine, theirs in pairs:
        one, two = (together([tensors[i] for i in kept]) for tensors in (mine, theirs))
        assert (one - two).abs().max() < 1e-4
        assert (one - two).abs().mean() < 2e-8


def test_the_rate_is_that_of_diffusers_cosine_which_warms_up_one_update_later() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=SETTINGS.learning_rate)
    schedule = get_cosine_schedule_with_warmup(optimizer, SETTINGS.warmup, SETTINGS.updates)
    rates = []
    for _ in range(SETTINGS.updates):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    ours = [learning_rate(update, SETTINGS) for update in range(SETTINGS.updates)]
    assert ours[: SETTINGS.warmup] == pytest.approx(rates[1 : SETTINGS.warmup + 1])
    assert ours[SETTINGS.warmup :] == pytest.approx(rates[SETTINGS.warmup :])

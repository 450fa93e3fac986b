"""Distil a denoiser into a painter of one to four steps, from its own trajectories.

First the teacher paints: of each trajectory of its solver a few states are kept, with the image that it ends in. Then
the student, which starts with the teacher's weights, learns to say the image from each of the states, as arXiv
2303.01469 defines the consistency function. The targets are the ends themselves, so that nothing has to travel through
a chain of levels as in consistency distillation, for which there is no time on a processor. Half of the states are
mirrored, their images alike.

    python tests/bench/distil.py pipelines/demo/model FOLDER --minutes 35

A run that was killed goes on where it was. FOLDER/model is what ConsistencyModel and diffusers' pipeline open.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline, UNet2DModel
from diffusers.training_utils import EMAModel
from torch import Tensor

from generate import Denoiser, trajectory
from generate.seeds import draw, generator

GRID, SIGMA_MIN, SIGMA_MAX, RHO = 40, 0.002, 80.0, 7.0
LEVELS = (0, 12, 17, 22, 26)  # of the grid, at which the student learns
SHARES = (0.4, 0.1, 0.2, 0.2, 0.1)  # of the batch; pure noise is the hardest
BETWEEN = (2, 2, 3, 3, 2)  # steps of the teacher from each level to the next, and from the last to the image
BATCH, RATE, DECAY = 16, 4e-4, 0.998
CHUNK = 50


@dataclass
class Trainee:
    """The student with all that a restart needs."""

    unet: UNet2DModel
    ema: EMAModel
    optimizer: torch.optim.Optimizer
    seconds: float = 0.0
    updates: int = 0


def sigmas() -> np.ndarray:
    """The noise levels of the grid (arXiv 2206.00364, eq. 5)."""
    ends = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return np.linspace(*ends, GRID) ** RHO


def timestep(teacher: Denoiser, sigma: float) -> int:
    """The teacher's own of the nearest noise level."""
    a = teacher.schedule.alphas_cumprod.double()
    return int((0.5 * ((1 - a) / a).log() - math.log(sigma)).abs().argmin())


def paint(teacher: Denoiser, path: Path, count: int) -> None:
    """Append states and images of the teacher's trajectories until there are `count`, float16 [levels + 1, 3, h, w]."""
    shape = (len(LEVELS) + 1, *teacher.image_shape)
    size = 2 * math.prod(shape)
    done = path.stat().st_size // size // CHUNK * CHUNK if path.is_file() else 0
    marks = [len(teacher.schedule) - 1, *(timestep(teacher, sigmas()[i]) for i in LEVELS[1:]), 0]
    times = [
        round(a + (b - a) * k / steps)
        for a, b, steps in zip(marks, marks[1:], BETWEEN, strict=False)
        for k in range(steps)
    ]
    start, a = time.perf_counter(), teacher.schedule.alphas_cumprod
    with open(path, "r+b" if path.is_file() else "wb") as file:
        file.seek(done * size)
        file.truncate()
        for first in range(done, count, CHUNK):
            noise = draw([generator(2024, seed) for seed in range(first, first + CHUNK)], teacher.image_shape)
            states = [noise]
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                path_of_x = list(trajectory(teacher, noise, solver="dpmsolver++", timesteps=times))
            for mark in marks[1:-1]:  # x_t is what the step before t leaves; as the variance explodes, x_t / sqrt(a_t)
                states.append(path_of_x[times.index(mark) - 1] / float(a[mark]) ** 0.5)
            states.append(path_of_x[-1].clamp(-1, 1))
            file.write(torch.stack(states, 1).to(torch.float16).numpy().tobytes())
            file.flush()
            done_now = first + CHUNK - done
            print(f"{first + CHUNK} trajectories, {done_now / (time.perf_counter() - start):.1f}/s", flush=True)


def student(teacher: Denoiser) -> UNet2DModel:
    """The teacher's network as one of noise levels: told 250 ln(sigma), and saying -v, which is EDM's with data of
    deviation 1: x_0 = x / (1 + sigma^2) - sigma / sqrt(1 + sigma^2) v."""
    unet = UNet2DModel.from_config(teacher.unet.config)
    assert isinstance(unet, UNet2DModel)
    unet.load_state_dict(teacher.unet.state_dict())
    with torch.no_grad():
        for parameter in unet.conv_out.parameters():
            parameter.neg_()
    grid = [s for s in sigmas() if s > 0.02]
    told = torch.tensor([250 * math.log(s) for s in grid])
    of_teacher = torch.tensor([timestep(teacher, s) for s in grid])
    with torch.no_grad():
        wanted = teacher.unet.time_embedding(teacher.unet.time_proj(of_teacher))
    embedding = unet.time_embedding
    optimizer = torch.optim.Adam(embedding.parameters(), 3e-3)
    loss = torch.zeros(())
    for _ in range(3000):
        loss = (embedding(unet.time_proj(told)) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"time embedding: mean square error {loss.item():.2e} of {wanted.square().mean():.2e}", flush=True)
    return unet.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]


def denoised(unet: UNet2DModel, x: Tensor, sigma: Tensor) -> Tensor:
    """The consistency function with data of deviation 1 (arXiv 2303.01469, appendix C)."""
    s = sigma.view(-1, 1, 1, 1)
    raw = unet((x / (s**2 + 1).sqrt()).contiguous(memory_format=torch.channels_last), 250 * sigma.log()).sample
    return x / ((s - SIGMA_MIN) ** 2 + 1) + (s - SIGMA_MIN) / (s**2 + 1).sqrt() * raw.float()


def batch(data: np.ndarray, update: int) -> tuple[Tensor, Tensor, Tensor]:
    """States, their noise levels and the images that they end in."""
    random = np.random.default_rng([7, update])
    rows = random.integers(0, len(data), BATCH)
    place = (random.random() + np.arange(BATCH)) / BATCH  # stratified
    levels = np.searchsorted(np.cumsum(SHARES)[:-1], place, side="right")
    sigma = torch.tensor(sigmas()[np.array(LEVELS)[levels]], dtype=torch.float32)
    x = torch.from_numpy(np.stack([data[r, k] for r, k in zip(rows, levels, strict=True)]).astype(np.float32))
    image = torch.from_numpy(np.stack([data[r, -1] for r in rows]).astype(np.float32))
    x[torch.tensor(levels == 0)] *= SIGMA_MAX  # the first state is stored as plain noise
    flipped = torch.tensor(random.random(BATCH) < 0.5).view(-1, 1, 1, 1)
    return torch.where(flipped, x.flip(3), x), sigma, torch.where(flipped, image.flip(3), image)


def difference(x: Tensor, wanted: Tensor) -> Tensor:
    """Nearly the mean absolute difference of pixels and of their steps to the right and down: a median, not a mean, so
    that flat colours and lines stay what they are."""
    d = x - wanted
    parts = (d, d.diff(dim=3), d.diff(dim=2))
    return sum((part.square() + 1e-4).sqrt().mean() for part in parts)  # type: ignore[return-value]


def train(trainee: Trainee, data: np.ndarray, minutes: float, folder: Path) -> None:
    losses, last, saved = [], time.monotonic(), time.monotonic()
    while trainee.seconds < 60 * minutes:
        rate = RATE * min(1, (trainee.updates + 1) / 100) * math.cos(math.pi / 2 * trainee.seconds / (60 * minutes))
        for group in trainee.optimizer.param_groups:
            group["lr"] = rate
        x, sigma, image = batch(data, trainee.updates)
        with torch.autocast("cpu", torch.bfloat16):
            x_0 = denoised(trainee.unet, x, sigma)
        loss = difference(x_0, image)
        trainee.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainee.unet.parameters(), 1.0)
        trainee.optimizer.step()
        trainee.ema.step(trainee.unet.parameters())
        losses.append(loss.item())
        now = time.monotonic()
        trainee.seconds += now - last
        trainee.updates, last = trainee.updates + 1, now
        if trainee.updates % 100 == 0:
            rates = (
                f"loss {np.mean(losses[-100:]):.4f}, {trainee.seconds / trainee.updates / BATCH * 1000:.0f} ms an image"
            )
            print(f"{trainee.updates} updates in {trainee.seconds / 60:.1f} minutes, {rates}", flush=True)
        if now - saved > 120:
            save(trainee, folder)
            saved = now
    save(trainee, folder)


def save(trainee: Trainee, folder: Path) -> None:
    state = {
        "unet": trainee.unet.state_dict(),
        "ema": trainee.ema.state_dict(),
        "optimizer": trainee.optimizer.state_dict(),
        "seconds": trainee.seconds,
        "updates": trainee.updates,
    }
    torch.save(state, folder / "checkpoint.tmp")
    (folder / "checkpoint.tmp").replace(folder / "checkpoint.pt")
    averaged = UNet2DModel.from_config(trainee.unet.config)
    assert isinstance(averaged, UNet2DModel)
    averaged.load_state_dict(trainee.unet.state_dict())
    trainee.ema.copy_to(averaged.parameters())
    scheduler = CMStochasticIterativeScheduler(GRID, SIGMA_MIN, SIGMA_MAX, sigma_data=1.0, rho=RHO)
    ConsistencyModelPipeline(averaged.half(), scheduler).save_pretrained(folder / "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=35, help="of training, after the trajectories")
    parser.add_argument("--trajectories", type=int, default=3000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    given.folder.mkdir(parents=True, exist_ok=True)
    teacher = Denoiser.from_pretrained(given.teacher)
    states = given.folder / "states.f16"
    paint(teacher, states, given.trajectories)
    data = np.memmap(states, np.float16, "r").reshape(-1, len(LEVELS) + 1, *teacher.image_shape)
    unet = student(teacher)
    optimizer = torch.optim.AdamW(unet.parameters(), RATE, weight_decay=1e-4, fused=True)
    trainee = Trainee(unet, EMAModel(unet.parameters(), decay=DECAY), optimizer)
    if (folder := given.folder / "checkpoint.pt").is_file():
        state = torch.load(folder, weights_only=True)
        trainee.unet.load_state_dict(state["unet"])
        trainee.ema.load_state_dict(state["ema"])
        trainee.optimizer.load_state_dict(state["optimizer"])
        trainee.seconds, trainee.updates = state["seconds"], state["updates"]
    train(trainee, data, given.minutes, given.folder)
    print(json.dumps({"updates": trainee.updates, "minutes": round(trainee.seconds / 60, 1)}))


if __name__ == "__main__":
    main()

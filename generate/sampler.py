"""From noise to images: ancestral DDPM, DDIM, DPM-Solver++ and UniPC over any descending list of timesteps.

All solvers see the network as one function, the image x_0 that it predicts at the original timestep t.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from jaxtyping import Float, UInt8
from torch import Tensor

from generate.denoiser import Denoiser
from generate.painting import painted
from generate.schedule import Schedule
from generate.settings import Solver, Spacing

MULTISTEP: dict[Solver, tuple[type[DPMSolverMultistepScheduler | UniPCMultistepScheduler], int]] = {
    "dpmsolver++": (DPMSolverMultistepScheduler, 2),
    "dpmsolver++3m": (DPMSolverMultistepScheduler, 3),
    "unipc": (UniPCMultistepScheduler, 2),
}
"""Solvers that are diffusers' schedulers, with their order."""


_LEAST = -5.1  # half the log of signal to noise, below which it says nothing more of an image (as in diffusers)


def spaced_timesteps(steps: int, schedule: Schedule, solver: Solver, spacing: Spacing = "even") -> list[int]:
    """`steps` timesteps, descending from the noisiest on; spread evenly in t, or in the log of signal to noise.

    The second is DPM-Solver's (arXiv 2206.00927). DDPM and DDIM end at t = 0; multistep solvers end one
    stride above it: their last step goes to the clean image. Raises ValueError when there are none or more than the
    schedule has.
    """
    if not 1 <= steps <= len(schedule):
        raise ValueError(f"{steps} solver steps were asked for; 1 to {len(schedule)} are possible")
    points = steps + 1 if solver in MULTISTEP and steps < len(schedule) else steps
    last = len(schedule) - 1
    if spacing == "log_snr":
        return _evenly_noisy(points, schedule)[:steps].tolist()
    grid = np.linspace(last, 0, points) if points > 1 else np.array([last])
    return grid.round().astype(int)[:steps].tolist()


def _evenly_noisy(points: int, schedule: Schedule) -> np.ndarray:
    """So many timesteps that differ, nearest to equal distances in half the log of signal to noise."""
    signal = schedule.alphas_cumprod.double().cpu().numpy().clip(1e-12)
    half_log = np.log(signal / (1 - signal)) / 2  # falls with t
    wanted = np.linspace(max(half_log[-1], _LEAST), half_log[0], points)
    nearest = np.abs(half_log - wanted[:, None]).argmin(1)
    nearest[0], places = len(schedule) - 1, np.arange(points)
    descending = np.minimum.accumulate(nearest + places)  # each at least one below that before
    return np.maximum(descending, points - 1) - places


def _split(denoiser: Denoiser, x_t: Tensor, t: int, *, clip: bool) -> tuple[Tensor, Tensor | None]:
    """The predicted x_0, and the raw variance channels where the network has them."""
    times = torch.full((len(x_t),), t, device=x_t.device)
    raw = denoiser(x_t, times)
    prediction, *rest = raw.split(x_t.shape[1], dim=1)
    x_0 = denoiser.schedule.predicted_x_0(x_t, times, prediction)
    return (x_0.clamp(-1, 1) if clip else x_0), (rest[0] if rest else None)


def ddim_step(x_t: Tensor, x_0: Tensor, a_t: float, a_prev: float, noise: Tensor | None, eta: float) -> Tensor:
    """DDIM (arXiv 2010.02502, eq. 12), eps re-derived from x_0; eta = 0 is deterministic."""
    eps = (x_t - a_t**0.5 * x_0) / (1 - a_t) ** 0.5
    sigma = eta * ((1 - a_prev) / (1 - a_t) * (1 - a_t / a_prev)) ** 0.5
    x_prev = a_prev**0.5 * x_0 + (1 - a_prev - sigma**2) ** 0.5 * eps
    return x_prev if noise is None or sigma == 0 else x_prev + sigma * noise


def ancestral_step(
    x_t: Tensor, x_0: Tensor, a_t: float, a_prev: float, noise: Tensor, log_variance: Tensor | float
) -> Tensor:
    """A draw from q(x_prev | x_t, x_0) (DDPM, arXiv 2006.11239, eq. 7) with the given log variance."""
    beta = 1 - a_t / a_prev
    mean = (a_prev**0.5 * beta * x_0 + (a_t / a_prev) ** 0.5 * (1 - a_prev) * x_t) / (1 - a_t)
    half = 0.5 * log_variance
    return mean + (half.exp() if isinstance(half, Tensor) else math.exp(half)) * noise


def ancestral_log_variance(schedule: Schedule, a_t: float, a_prev: float, raw: Tensor | None) -> Tensor | float:
    """Log variance of a step: the posterior's, beta, or between the two as learned (arXiv 2102.09672, eq. 15)."""
    beta = 1 - a_t / a_prev
    low, high = math.log(beta * (1 - a_prev) / (1 - a_t)), math.log(beta)
    if schedule.variance == "learned_range":
        assert raw is not None, "a network with a learned variance has twice the channels"
        return (raw + 1) / 2 * high + (1 - raw) / 2 * low
    return high if schedule.variance == "fixed_large" else low


def trajectory(
    denoiser: Denoiser,
    noise: Float[Tensor, "b c h w"],
    *,
    solver: Solver,
    timesteps: Sequence[int],
    step_noise: Iterable[Tensor] | None = None,
    eta: float = 0.0,
    clip: bool = True,
) -> Iterator[Float[Tensor, "b c h w"]]:
    """Yield x after each step, the last one being the image in [-1, 1]; `noise` is standard normal.

    `timesteps` are original ones, descending. `step_noise` [steps, b, c, h, w] replaces the noise that "ddpm" and
    "ddim" with eta > 0 would draw from torch's global generator. `clip` clamps each predicted x_0 to [-1, 1].
    """
    if solver in MULTISTEP:
        yield from _multistep(denoiser, noise, solver, timesteps, clip=clip)
        return
    levels = [float(denoiser.schedule.alphas_cumprod[t]) for t in timesteps] + [1.0]
    random = iter(step_noise) if step_noise is not None else (torch.randn_like(noise) for _ in timesteps)
    x = noise
    for i, t in enumerate(timesteps):
        x_0, raw = _split(denoiser, x, t, clip=clip)
        a_t, a_prev = levels[i], levels[i + 1]
        if solver == "ddim":
            x = ddim_step(x, x_0, a_t, a_prev, next(random).to(x) if eta else None, eta)
        elif a_prev < 1:
            log_variance = ancestral_log_variance(denoiser.schedule, a_t, a_prev, raw)
            x = ancestral_step(x, x_0, a_t, a_prev, next(random).to(x), log_variance)
        else:
            x = x_0  # the posterior's mean at the last step, which adds no noise
        yield x


def _multistep(
    denoiser: Denoiser, noise: Tensor, solver: Solver, timesteps: Sequence[int], *, clip: bool
) -> Iterator[Tensor]:
    """DPM-Solver++ (arXiv 2211.01095, algorithm 2) or UniPC (arXiv 2302.04867): diffusers' own, fed with x_0."""
    scheduler = _scheduler(denoiser.schedule, solver, timesteps)
    x = noise
    for t in timesteps:
        x_0, _ = _split(denoiser, x, t, clip=clip)
        x = scheduler.step(x_0, t, x).prev_sample  # type: ignore[arg-type]  # an int is what it documents
        yield x


def _scheduler(
    schedule: Schedule, solver: Solver, timesteps: Sequence[int]
) -> DPMSolverMultistepScheduler | UniPCMultistepScheduler:
    kind, order = MULTISTEP[solver]
    scheduler = kind(
        num_train_timesteps=len(schedule),
        trained_betas=schedule.betas.numpy(),
        prediction_type="sample",
        solver_order=order,
    )
    if isinstance(scheduler, DPMSolverMultistepScheduler):
        scheduler.set_timesteps(timesteps=list(timesteps))
    else:  # it takes no list of timesteps, only what follows from one
        scheduler.set_timesteps(len(timesteps))
        a = schedule.alphas_cumprod[list(timesteps)]
        scheduler.timesteps = torch.tensor(timesteps)
        scheduler.sigmas = torch.cat([((1 - a) / a).sqrt(), a.new_zeros(1)]).float()
    scheduler.set_begin_index(0)  # or it would look every t up, which makes a device wait for the host
    return scheduler


def sample(
    denoiser: Denoiser,
    seeds: Sequence[int],
    *,
    run_seed: int,
    solver: Solver = "dpmsolver++",
    steps: int = 20,
    spacing: Spacing = "even",
    batch_size: int,
) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
    """Yield 8-bit RGB images in the order of `seeds`, batch_size at a time.

    An image is a function of (denoiser, run_seed, its seed, solver, steps, spacing); its last bits depend on batch_size
    too. Raises ValueError for no steps, or more than the schedule has.
    """
    timesteps = spaced_timesteps(steps, denoiser.schedule, solver, spacing)

    def steps_of(noise: Tensor, step_noise: Iterable[Tensor]) -> Iterator[Tensor]:
        return trajectory(denoiser, noise, solver=solver, timesteps=timesteps, step_noise=step_noise)

    return painted(steps_of, denoiser.image_shape, denoiser.device, seeds, run_seed=run_seed, batch_size=batch_size)

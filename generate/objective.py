"""What a diffusion model is trained to make small, value by value; the loss of a batch is the mean of its values.

L_simple is DDPM's (arXiv 2006.11239, equation 14), with min-SNR-gamma weights where they are asked for (arXiv
2303.09556). A network that predicts its variance as well is trained by L_hybrid = L_simple + 0.001 L_vlb (arXiv
2102.09672, equation 16).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from generate.schedule import Schedule
from generate.settings import Training

_OF_VLB = 0.001  # lambda of L_hybrid
_HALF_A_LEVEL = 1 / 255  # of 8-bit pixels in [-1, 1]


def drawn_timesteps(steps: int, count: int, settings: Training, generator: torch.Generator) -> Int[Tensor, " count"]:
    """Uniform over all steps; stratified: one from each of `count` equal parts of them."""
    if settings.timesteps == "uniform":
        return torch.randint(steps, (count,), generator=generator)
    within = torch.rand(count, generator=generator, dtype=torch.float64)
    return ((torch.arange(count) + within) / count * steps).long().clamp(max=steps - 1)


def losses(
    schedule: Schedule,
    output: Float[Tensor, "b out h w"],
    x_0: Float[Tensor, "b c h w"],
    t: Int[Tensor, " b"],
    noise: Float[Tensor, "b c h w"],
    settings: Training,
) -> Float[Tensor, "b c h w"]:
    """The loss at each value of the images, of which `output` is the network's answer at step t."""
    prediction, *variance = output.split(x_0.shape[1], dim=1)
    simple = (prediction - schedule.training_target(x_0, t, noise)).square()
    if settings.weighting == "min_snr":
        simple = simple * min_snr(schedule, t, simple, settings.min_snr_gamma)
    if schedule.variance != "learned_range":
        return simple
    frozen = schedule.predicted_x_0(schedule.add_noise(x_0, t, noise), t, prediction.detach())
    return simple + _OF_VLB * len(schedule) * vlb_terms(schedule, x_0, frozen, variance[0], t)


def min_snr(schedule: Schedule, t: Int[Tensor, " b"], like: Tensor, gamma: float) -> Tensor:
    """Weights min(SNR, gamma) of the error in x_0, as the error in what is predicted has them; shaped as `like`.

    SNR = a_t / (1 - a_t); the error in the noise is SNR times that in x_0, the one in v SNR + 1 times.
    """
    signal, sigma = schedule.levels(t, like)
    snr = (signal / sigma).square()
    scale = {"sample": torch.ones_like(snr), "epsilon": snr, "v_prediction": snr + 1}[schedule.prediction]
    return snr.clamp(max=gamma) / scale


def vlb_terms(
    schedule: Schedule,
    x_0: Float[Tensor, "b c h w"],
    predicted: Float[Tensor, "b c h w"],
    raw: Float[Tensor, "b c h w"],
    t: Int[Tensor, " b"],
) -> Float[Tensor, "b c h w"]:
    """L_t in bits a value: the divergence of the posterior from the network's step, at t = 0 the image's code length.

    `predicted` is the network's x_0. The log variance lies between the posterior's, raw = -1, and log beta, raw = 1
    (arXiv 2102.09672, equation 15); that of the first posterior, which is none, is the second's.
    """
    posterior, beta, of_x_0 = (values[t].to(raw).view(-1, 1, 1, 1) for values in _steps(schedule, t.device))
    log_variance = (raw + 1) / 2 * beta + (1 - raw) / 2 * posterior
    between = of_x_0 * (x_0 - predicted)  # the means
    divergence = 0.5 * (
        log_variance - posterior - 1 + (posterior - log_variance).exp() + between.square() * (-log_variance).exp()
    )
    length = -_log_likelihood(x_0, between, log_variance)
    return torch.where((t == 0).view(-1, 1, 1, 1), length, divergence) / math.log(2)


def _steps(schedule: Schedule, device: torch.device) -> list[Tensor]:
    """Of every step: log variance of the posterior, log beta, and what its mean takes of x_0 (DDPM, equation 7)."""
    a, beta = schedule.alphas_cumprod, schedule.betas
    before = torch.cat([a.new_ones(1), a[:-1]])
    variance = beta * (1 - before) / (1 - a)
    variance[0] = variance[1]
    return [value.to(device) for value in (variance.log(), beta.log(), before.sqrt() * beta / (1 - a))]


def _log_likelihood(x: Tensor, from_mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log probability of an 8-bit value under a Gaussian; black and white have all beyond them (DDPM, equation 13)."""
    scale = (-0.5 * log_variance).exp()
    above, below = scale * (from_mean + _HALF_A_LEVEL), scale * (from_mean - _HALF_A_LEVEL)
    near, far = (scale * (edge - from_mean.abs()) for edge in (_HALF_A_LEVEL, -_HALF_A_LEVEL))  # where digits are left
    inside = (_below(near) - _below(far)).clamp_min(1e-12).log()
    ends = torch.where(x < 0, torch.special.log_ndtr(above), torch.special.log_ndtr(-below))
    return torch.where(x.abs() > 0.999, ends, inside)


def _below(x: Tensor) -> Tensor:
    """The normal distribution function, whose left end keeps its digits; torch.special.ndtr's does not."""
    return 0.5 * torch.special.erfc(-math.sqrt(0.5) * x)

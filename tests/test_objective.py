"""What a diffusion model is trained to make small, against closed formulas in numpy and against diffusers."""

import math

import numpy as np
import pytest
import torch
from diffusers.training_utils import compute_snr
from torch import Tensor

from generate import Schedule
from generate.objective import drawn_timesteps, losses, min_snr, vlb_terms
from generate.schedule import Prediction
from generate.settings import Training

LEARNED = Schedule.named("linear", "epsilon", variance="learned_range")
T = torch.tensor([0, 1, 500, 999])


def images(count: int = 4) -> tuple[Tensor, Tensor]:
    """8-bit ones with black and white among their values, and noise."""
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 4, 4), generator=rng)
    pixels[:, 0, 0, 0], pixels[:, 1, 0, 0] = 0, 255
    return pixels / 127.5 - 1, torch.randn(pixels.shape, generator=rng)


def phi(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x.ravel()]).reshape(x.shape)


def divergence(mean: np.ndarray, variance: np.ndarray, other: np.ndarray, another: np.ndarray) -> np.ndarray:
    """KL(N(mean, variance) || N(other, another)) in bits, as textbooks have it."""
    nats = np.log(np.sqrt(another / variance)) + (variance + (mean - other) ** 2) / (2 * another) - 0.5
    return nats / math.log(2)


def bits(t: int, x_0: np.ndarray, predicted: np.ndarray, raw: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """L_t by DDPM's equations 5 to 7 and 13, step by step; the network's mean is the posterior's of its x_0."""
    beta = np.linspace(1e-4, 0.02, 1000)
    a = np.cumprod(1 - beta)
    before = a[t - 1] if t else 1.0
    x_t = np.sqrt(a[t]) * x_0 + np.sqrt(1 - a[t]) * noise

    def mean(image: np.ndarray) -> np.ndarray:
        return (np.sqrt(before) * beta[t] * image + np.sqrt(1 - beta[t]) * (1 - before) * x_t) / (1 - a[t])

    first = max(t, 1)
    posterior = np.full_like(x_0, beta[first] * (1 - a[first - 1]) / (1 - a[first]))
    learned = np.exp((raw + 1) / 2 * np.log(beta[t]) + (1 - raw) / 2 * np.log(posterior))
    if t:
        return divergence(mean(x_0), posterior, mean(predicted), learned)
    upper = np.where(x_0 > 0.999, np.inf, x_0 + 1 / 255)
    lower = np.where(x_0 < -0.999, -np.inf, x_0 - 1 / 255)
    share = phi((upper - predicted) / np.sqrt(learned)) - phi((lower - predicted) / np.sqrt(learned))
    return -np.log2(np.maximum(share, 1e-12))


def test_the_variational_bound_is_the_closed_formula() -> None:
    x_0, noise = images()
    rng = torch.Generator().manual_seed(1)
    predicted = x_0 + 0.02 * torch.randn(x_0.shape, generator=rng)
    raw = 2 * torch.rand(x_0.shape, generator=rng) - 1
    found = vlb_terms(LEARNED, x_0, predicted, raw, T)
    for i, t in enumerate(T.tolist()):
        wanted = bits(t, *(tensor[i].double().numpy() for tensor in (x_0, predicted, raw, noise)))
        np.testing.assert_allclose(found[i], wanted, rtol=2e-3, atol=1e-4)


def test_a_network_that_knows_the_image_and_the_posterior_has_nothing_to_lose() -> None:
    x_0, _ = images()
    found = vlb_terms(LEARNED, x_0, x_0, torch.full_like(x_0, -1), T)
    torch.testing.assert_close(found[1:], torch.zeros_like(x_0)[1:], atol=1e-6, rtol=0)


def test_the_hybrid_loss_is_the_simple_one_and_a_thousandth_of_the_bound() -> None:
    x_0, noise = images()
    output = torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(2)) / 10
    found = losses(LEARNED, output, x_0, T, noise, Training())
    prediction, raw = output.chunk(2, dim=1)
    predicted = LEARNED.predicted_x_0(LEARNED.add_noise(x_0, T, noise), T, prediction)
    bound = 1000 * vlb_terms(LEARNED, x_0, predicted, raw, T)
    torch.testing.assert_close(found, (prediction - noise).square() + 0.001 * bound)


def test_the_bound_moves_the_variance_and_never_the_mean() -> None:
    x_0, noise = images()
    output = (torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(2)) / 10).requires_grad_()
    losses(LEARNED, output, x_0, T, noise, Training()).sum().backward()
    assert output.grad is not None
    torch.testing.assert_close(output.grad[:, :3], 2 * (output[:, :3].detach() - noise))
    assert (output.grad[:, 3:] != 0).all()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weighs_as_diffusers_counts_the_signal(prediction: Prediction) -> None:
    schedule, t = Schedule.named("cosine", prediction), torch.arange(0, 1000, 37)
    snr = compute_snr(schedule.to_diffusers(), t)
    least = torch.minimum(snr, torch.tensor(5.0))
    wanted = {"epsilon": least / snr, "v_prediction": least / (snr + 1), "sample": least}[prediction]
    found = min_snr(schedule, t, torch.zeros(len(t), 1, 1, 1), 5.0).flatten()
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)


def test_without_a_weighting_the_loss_is_the_squared_error() -> None:
    x_0, noise = images()
    schedule = Schedule.named("cosine", "v_prediction")
    target = schedule.training_target(x_0, T, noise)
    assert torch.equal(losses(schedule, x_0, x_0, T, noise, Training()), (x_0 - target).square())
    weighed = losses(schedule, x_0, x_0, T, noise, Training(weighting="min_snr"))
    assert (weighed <= (x_0 - target).square()).all()


def test_stratified_timesteps_have_one_in_each_part() -> None:
    settings, rng = Training(timesteps="stratified"), torch.Generator().manual_seed(0)
    for _ in range(20):
        drawn = drawn_timesteps(1000, 8, settings, rng)
        assert (drawn * 8 // 1000).tolist() == list(range(8))


def test_uniform_timesteps_are_those_that_they_always_were() -> None:
    found = drawn_timesteps(1000, 5, Training(), torch.Generator().manual_seed(3))
    assert torch.equal(found, torch.randint(1000, (5,), generator=torch.Generator().manual_seed(3)))

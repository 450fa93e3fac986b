from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from generate import Denoiser, Schedule, sample, spaced_timesteps, trajectory
from generate.sampler import MULTISTEP


def with_prediction(denoiser: Denoiser, prediction: Any, variance: Any = "fixed_small", steps: int = 1000) -> Denoiser:
    schedule = Schedule.named("linear", prediction, steps)
    return Denoiser(denoiser.unet, Schedule(schedule.betas, prediction, variance), "test")


def run_oracle(scheduler, denoiser, x, timesteps, **extra):
    for t in timesteps:
        raw = denoiser(x, torch.full((len(x),), t))
        x = scheduler.step(raw, t, x, **extra).prev_sample
    return x


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_ddim_agrees_with_diffusers(tiny_denoiser, prediction):
    denoiser = with_prediction(tiny_denoiser, prediction)
    oracle = DDIMScheduler(prediction_type=prediction, timestep_spacing="trailing", set_alpha_to_one=True)
    oracle.set_timesteps(10)
    timesteps, noise = oracle.timesteps.tolist(), torch.randn(2, 3, 16, 16)
    *_, x = trajectory(denoiser, noise, solver="ddim", timesteps=timesteps)
    expected = run_oracle(oracle, denoiser, noise, timesteps, use_clipped_model_output=True)
    torch.testing.assert_close(x, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_ancestral_sampling_agrees_with_diffusers_on_the_same_noise(tiny_denoiser, variance):
    denoiser = with_prediction(tiny_denoiser, "epsilon", variance, steps=30)
    betas = denoiser.schedule.betas.numpy()
    oracle = DDPMScheduler(num_train_timesteps=30, trained_betas=betas, variance_type=variance)
    oracle.set_timesteps(30)
    noise = torch.randn(2, 3, 16, 16)
    drawn = torch.Generator().manual_seed(7)
    expected = run_oracle(oracle, denoiser, noise, range(29, -1, -1), generator=drawn)
    drawn.manual_seed(7)
    step_noise = [torch.randn(noise.shape, generator=drawn) for _ in range(30)]
    *_, x = trajectory(denoiser, noise, solver="ddpm", timesteps=list(range(29, -1, -1)), step_noise=step_noise)
    torch.testing.assert_close(x, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("solver", ["dpmsolver++", "dpmsolver++3m", "unipc"])
def test_multistep_solvers_agree_with_diffusers_fed_with_the_raw_output(tiny_denoiser, prediction, solver):
    denoiser = with_prediction(tiny_denoiser, prediction)
    kind, order = MULTISTEP[solver]
    oracle = kind(
        beta_schedule="linear",
        trained_betas=denoiser.schedule.betas.numpy(),
        prediction_type=prediction,
        solver_order=order,
    )
    timesteps, noise = spaced_timesteps(10, denoiser.schedule, solver), torch.randn(2, 3, 16, 16)
    oracle.set_timesteps(10)
    assert oracle.timesteps.tolist() == timesteps
    *_, x = trajectory(denoiser, noise, solver=solver, timesteps=timesteps, clip=False)
    torch.testing.assert_close(x, run_oracle(oracle, denoiser, noise, timesteps), atol=1e-3, rtol=1e-3)


def test_a_learned_variance_lies_between_the_posterior_and_beta(tiny_denoiser):
    from generate.sampler import ancestral_log_variance

    schedule = with_prediction(tiny_denoiser, "epsilon", "learned_range").schedule
    fixed = [
        ancestral_log_variance(Schedule(schedule.betas, "epsilon", kind), 0.5, 0.6, None)
        for kind in ("fixed_small", "fixed_large")
    ]
    learned = ancestral_log_variance(schedule, 0.5, 0.6, torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(learned, torch.tensor(fixed))


@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpmsolver++"])
def test_an_image_is_the_same_alone_and_in_a_batch(tiny_denoiser, solver):
    how = {"run_seed": 3, "solver": solver, "steps": 4}
    together = np.concatenate(list(sample(tiny_denoiser, [5, 6, 7], batch_size=3, **how)))
    alone = np.concatenate(list(sample(tiny_denoiser, [6], batch_size=1, **how)))
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1


def test_sampling_twice_gives_the_same_bytes(tiny_denoiser):
    first, second = (np.concatenate(list(sample(tiny_denoiser, range(4), run_seed=0, batch_size=2))) for _ in "ab")
    assert first.tobytes() == second.tobytes()


def test_images_come_in_the_order_of_their_seeds(tiny_denoiser):
    forth = np.concatenate(list(sample(tiny_denoiser, [1, 2], run_seed=0, steps=3, batch_size=1)))
    back = np.concatenate(list(sample(tiny_denoiser, [2, 1], run_seed=0, steps=3, batch_size=1)))
    assert np.array_equal(forth, back[::-1])
    assert not np.array_equal(forth[0], forth[1])


@pytest.mark.parametrize("spacing", ["even", "log_snr"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpmsolver++"])
@pytest.mark.parametrize("steps", [1, 2, 20, 250, 1000])
def test_timesteps_descend_from_the_noisiest_and_are_as_many_as_asked_for(solver, steps, schedule, spacing):
    timesteps = spaced_timesteps(steps, Schedule.named(schedule, "epsilon"), solver, spacing)
    assert len(timesteps) == steps
    assert timesteps[0] == 999
    assert timesteps == sorted(set(timesteps), reverse=True)


def test_log_snr_spaces_steps_where_diffusers_does_as_far_as_there_are_such_timesteps() -> None:
    schedule = Schedule.named("linear", "epsilon")
    theirs = DPMSolverMultistepScheduler(trained_betas=schedule.betas.numpy(), use_lu_lambdas=True)
    theirs.set_timesteps(21)
    ours = spaced_timesteps(20, schedule, "dpmsolver++", "log_snr")
    signal = schedule.alphas_cumprod.double()
    half_log = ((signal / (1 - signal)).log() / 2).numpy()
    wanted = -np.log(theirs.sigmas[:20].double().numpy())
    for t, place in zip(ours, wanted, strict=True):
        assert half_log[min(t + 1, 999)] <= place + 1e-3
        assert place - 1e-3 <= half_log[max(t - 1, 0)]


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_a_number_of_steps_that_cannot_be_is_refused(steps):
    with pytest.raises(ValueError, match="1 to 1000 are possible"):
        spaced_timesteps(steps, Schedule.named("linear", "epsilon"), "ddim")

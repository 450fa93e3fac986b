import pytest
import torch
from diffusers import DDPMScheduler

from generate import Schedule


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_noising_agrees_with_diffusers(name):
    schedule = Schedule.named(name, "epsilon")
    oracle = DDPMScheduler(beta_schedule="linear" if name == "linear" else "squaredcos_cap_v2")
    x_0, noise, t = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8), torch.IntTensor([0, 50, 500, 999])
    torch.testing.assert_close(schedule.add_noise(x_0, t, noise), oracle.add_noise(x_0, noise, t), atol=1e-5, rtol=1e-4)


def test_velocity_agrees_with_diffusers():
    schedule, oracle = Schedule.named("linear", "v_prediction"), DDPMScheduler(prediction_type="v_prediction")
    x_0, noise, t = torch.randn(3, 3, 8, 8), torch.randn(3, 3, 8, 8), torch.IntTensor([1, 400, 900])
    torch.testing.assert_close(
        schedule.training_target(x_0, t, noise), oracle.get_velocity(x_0, noise, t), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_training_target_stands_for_the_image_it_was_made_from(prediction):
    schedule = Schedule.named("cosine", prediction)
    x_0, noise, t = torch.rand(3, 3, 8, 8), torch.randn(3, 3, 8, 8), torch.tensor([5, 300, 700])
    x_t = schedule.add_noise(x_0, t, noise)
    recovered = schedule.predicted_x_0(x_t, t, schedule.training_target(x_0, t, noise))
    torch.testing.assert_close(recovered, x_0, atol=1e-4, rtol=1e-4)


def test_a_schedule_survives_a_scheduler_config():
    schedule = Schedule.named("cosine", "v_prediction", steps=100)
    again = Schedule.from_diffusers(dict(schedule.to_diffusers().config))
    assert torch.equal(again.betas, schedule.betas)
    assert (again.prediction, again.variance) == (schedule.prediction, schedule.variance)


def test_a_variance_that_is_not_known_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="learned_range"):
        Schedule.from_diffusers({"num_train_timesteps": 10, "variance_type": "dreamt"})


def test_a_linear_schedule_of_too_few_steps_is_refused():
    with pytest.raises(ValueError, match="needs more than 20"):
        Schedule.named("linear", "epsilon", steps=20)


def test_fewer_linear_steps_end_at_the_same_noise():
    few, many = (Schedule.named("linear", "epsilon", steps=n).alphas_cumprod[-1] for n in (250, 4000))
    assert few.log().item() == pytest.approx(many.log().item(), rel=0.1)

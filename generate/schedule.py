"""The noise schedule: a_t, the share of the image's variance that is left at step t (DDPM, arXiv 2006.11239, eq. 4)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

import torch
from diffusers import DDPMScheduler
from jaxtyping import Float, Int
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample"]
Variance = Literal["fixed_small", "fixed_large", "learned_range"]
NoiseSchedule = Literal["linear", "cosine"]

BETA_SCHEDULES: dict[NoiseSchedule, str] = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


@dataclass(frozen=True)
class Schedule:
    """What a denoiser was trained with: its noise levels, what it predicts, which variance its ancestral steps take."""

    betas: Float[Tensor, "steps"]  # float64, in (0, 1)
    prediction: Prediction
    variance: Variance = "fixed_small"

    @classmethod
    def named(cls, name: NoiseSchedule, prediction: Prediction, steps: int = 1000) -> "Schedule":
        return cls.from_diffusers(
            {"num_train_timesteps": steps, "beta_schedule": BETA_SCHEDULES[name], "prediction_type": prediction}
        )

    @classmethod
    def from_diffusers(cls, config: dict[str, Any]) -> "Schedule":
        """Read the contents of a diffusers scheduler_config.json."""
        scheduler = DDPMScheduler.from_config(config)
        assert isinstance(scheduler, DDPMScheduler)
        variance = str(scheduler.config["variance_type"]).removesuffix("_log")
        if variance not in get_args(Variance):
            raise ValueError(f"variance_type {variance!r} is not known; known are {', '.join(get_args(Variance))}")
        return cls(scheduler.betas.double(), scheduler.config["prediction_type"], cast(Variance, variance))

    def to_diffusers(self) -> DDPMScheduler:
        """The scheduler that from_diffusers reads the same schedule from."""
        return DDPMScheduler(
            num_train_timesteps=len(self),
            trained_betas=self.betas.tolist(),  # type: ignore[arg-type]  # a list is what JSON gives back
            prediction_type=self.prediction,
            variance_type=self.variance,
        )

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> Float[Tensor, "steps"]:
        """a_t, descending from about 1 to about 0; float64."""
        return torch.cumprod(1 - self.betas, 0)

    def levels(self, t: Int[Tensor, "b"], like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(a_t) and sqrt(1 - a_t) for each row of `like`, shaped to be multiplied with it."""
        a_t = self.alphas_cumprod.to(like.device)[t].view(-1, *[1] * (like.dim() - 1))
        return a_t.sqrt().to(like.dtype), (1 - a_t).sqrt().to(like.dtype)

    def add_noise(self, x_0: Tensor, t: Int[Tensor, "b"], noise: Tensor) -> Tensor:
        """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps (DDPM, eq. 4)."""
        signal, sigma = self.levels(t, x_0)
        return signal * x_0 + sigma * noise

    def training_target(self, x_0: Tensor, t: Int[Tensor, "b"], noise: Tensor) -> Tensor:
        """What the network is to predict; v = sqrt(a_t) eps - sqrt(1 - a_t) x_0 (arXiv 2202.00512, section 4)."""
        signal, sigma = self.levels(t, x_0)
        targets = {"epsilon": noise, "v_prediction": signal * noise - sigma * x_0, "sample": x_0}
        return targets[self.prediction]

    def predicted_x_0(self, x_t: Tensor, t: Int[Tensor, "b"], prediction: Tensor) -> Tensor:
        """The image that a prediction stands for: the inverse of training_target."""
        signal, sigma = self.levels(t, x_t)
        if self.prediction == "epsilon":
            return (x_t - sigma * prediction) / signal
        if self.prediction == "v_prediction":
            return signal * x_t - sigma * prediction
        return prediction

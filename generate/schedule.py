"""The noise schedule: a_t, the share of the image's variance that is left at step t (DDPM, arXiv 2006.11239, eq. 4)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from diffusers import DDPMScheduler
from jaxtyping import Float, Int
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample"]
Variance = Literal["fixed_small", "fixed_large", "learned_range"]
NoiseSchedule = Literal["linear", "cosine"]


def _linear_betas(steps: int) -> np.ndarray:
    """DDPM's 1e-4 to 0.02 at 1000 steps, scaled so that other numbers of steps end at the same noise."""
    scale = 1000 / steps
    return np.linspace(scale * 1e-4, scale * 0.02, steps)


def _cosine_betas(steps: int) -> np.ndarray:
    """a_t = cos^2((t / T + s) / (1 + s) * pi / 2), s = 0.008, betas cut at 0.999 (arXiv 2102.09672, eq. 17)."""
    a = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - a[1:] / a[:-1], 0.999)


BETAS: dict[NoiseSchedule, Callable[[int], np.ndarray]] = {"linear": _linear_betas, "cosine": _cosine_betas}


@dataclass(frozen=True)
class Schedule:
    """What a denoiser was trained with: its noise levels, what it predicts, which variance its ancestral steps take.

    The network is told t * time_scale: 1 but for networks that count to 1000 whatever their number of steps.
    """

    betas: Float[Tensor, " steps"]  # float64, in (0, 1)
    prediction: Prediction
    variance: Variance = "fixed_small"
    time_scale: float = 1.0

    def __post_init__(self) -> None:
        if not bool(((self.betas > 0) & (self.betas < 1)).all()):
            raise ValueError(f"{len(self)} steps give betas outside (0, 1); a linear schedule needs more than 20")

    @classmethod
    def named(
        cls,
        name: NoiseSchedule,
        prediction: Prediction,
        steps: int = 1000,
        *,
        variance: Variance = "fixed_small",
        time_scale: float = 1.0,
    ) -> "Schedule":
        """A published schedule at so many steps. Raises ValueError for a linear one of 20 or fewer."""
        return cls(torch.from_numpy(BETAS[name](steps)), prediction, variance, time_scale)

    @classmethod
    def from_diffusers(cls, config: dict[str, Any]) -> "Schedule":
        """Read the contents of a diffusers scheduler_config.json. Raises ValueError for a variance not known here."""
        scheduler = DDPMScheduler.from_config(config)
        assert isinstance(scheduler, DDPMScheduler)
        variance = str(scheduler.config["variance_type"]).removesuffix("_log")
        if variance not in get_args(Variance):
            raise ValueError(f"variance_type {variance!r} is not known; known are {', '.join(get_args(Variance))}")
        trained = config.get("trained_betas")  # as they are; the scheduler rounds them to float32
        betas = scheduler.betas.double() if trained is None else torch.tensor(trained, dtype=torch.float64)
        return cls(betas, scheduler.config["prediction_type"], cast(Variance, variance))

    def to_diffusers(self) -> DDPMScheduler:
        """The scheduler that from_diffusers reads the same schedule from; time_scale has no place in it."""
        assert self.time_scale == 1
        return DDPMScheduler(
            num_train_timesteps=len(self),
            trained_betas=self.betas.tolist(),  # type: ignore[arg-type]  # a list is what JSON gives back
            prediction_type=self.prediction,
            variance_type=self.variance,
        )

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> Float[Tensor, " steps"]:
        """a_t, descending from about 1 to about 0; float64."""
        return torch.cumprod(1 - self.betas, 0)

    @cached_property
    def _on_device(self) -> dict[torch.device, Tensor]:
        return {}

    def levels(self, t: Int[Tensor, " b"], like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(a_t) and sqrt(1 - a_t) for each row of `like`, shaped to be multiplied with it."""
        if like.device not in self._on_device:  # copied once: a copy a step would make the device wait for the host
            self._on_device[like.device] = self.alphas_cumprod.to(like.device)
        a_t = self._on_device[like.device][t].view(-1, *[1] * (like.dim() - 1))
        return a_t.sqrt().to(like.dtype), (1 - a_t).sqrt().to(like.dtype)

    def add_noise(self, x_0: Tensor, t: Int[Tensor, " b"], noise: Tensor) -> Tensor:
        """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps (DDPM, eq. 4)."""
        signal, sigma = self.levels(t, x_0)
        return signal * x_0 + sigma * noise

    def training_target(self, x_0: Tensor, t: Int[Tensor, " b"], noise: Tensor) -> Tensor:
        """What the network is to predict; v = sqrt(a_t) eps - sqrt(1 - a_t) x_0 (arXiv 2202.00512, section 4)."""
        signal, sigma = self.levels(t, x_0)
        targets = {"epsilon": noise, "v_prediction": signal * noise - sigma * x_0, "sample": x_0}
        return targets[self.prediction]

    def predicted_x_0(self, x_t: Tensor, t: Int[Tensor, " b"], prediction: Tensor) -> Tensor:
        """The image that a prediction stands for: the inverse of training_target."""
        signal, sigma = self.levels(t, x_t)
        if self.prediction == "epsilon":
            return (x_t - sigma * prediction) / signal
        if self.prediction == "v_prediction":
            return signal * x_t - sigma * prediction
        return prediction

"""The image source that paints in the latents of an autoencoder, from words or without (arXiv 2112.10752)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)
from jaxtyping import Float, UInt8
from torch import Tensor

from generate.errors import GenerateError
from generate.image_source import json_digest
from generate.latent_model import LatentModel
from generate.pixels import to_pixels
from generate.prompts import Prompts
from generate.seeds import draw, generator
from generate.settings import Solver

SOLVERS: dict[Solver, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "dpmsolver++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpmsolver++3m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 3}),
    "unipc": (UniPCMultistepScheduler, {"solver_order": 2}),
}
"""The scheduler of diffusers that each solver is, and what it is told beside the model's own configuration."""
_UNCLIPPED = {"clip_sample": False, "thresholding": False}  # latents are not within [-1, 1]


def scheduler_of(model: LatentModel, solver: Solver, steps: int) -> Any:
    """The solver over the model's own noise schedule, with its timesteps as diffusers spaces them.

    Raises GenerateError for no steps, or more than the schedule has.
    """
    if not 1 <= steps <= len(model.schedule):
        raise GenerateError(f"{steps} solver steps were asked for; 1 to {len(model.schedule)} are possible")
    kind, told = SOLVERS[solver]
    scheduler = kind.from_config({**model.scheduler, **told, **_UNCLIPPED})
    scheduler.set_timesteps(steps)
    return scheduler


def predicted(
    model: LatentModel, x_t: Tensor, t: int, told: Tensor | None, untold: Tensor | None, guidance: float
) -> Tensor:
    """What the network predicts, led away from what it would without the words (arXiv 2207.12598, eq. 6)."""
    times = torch.full((len(x_t),), t, device=x_t.device)
    if told is None or untold is None:
        return model(x_t, times, told)
    without, with_words = model(x_t.repeat(2, 1, 1, 1), times.repeat(2), torch.cat([untold, told])).chunk(2)
    return without + guidance * (with_words - without)


@dataclass(frozen=True)
class LatentImages:
    """Images that a latent diffusion model paints, of words where it reads some; a prompt belongs to its seed.

    Guidance of 1 or less is none: then a step costs one call of the network, not two. Raises GenerateError for
    prompts that do not fit the model, and for steps that its schedule does not have.
    """

    model: LatentModel
    prompts: Prompts | None = None
    guidance: float = 7.5
    negative_prompt: str = ""
    solver: Solver = "dpmsolver++"
    steps: int = 20

    def __post_init__(self) -> None:
        self.model.check_prompts(self.prompts.longest if self.prompts else [])
        scheduler_of(self.model, self.solver, self.steps)

    @property
    def digest(self) -> str:
        return json_digest(["latent", self.model.digest, self._settings, self.prompts and self.prompts.record])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.model.image_shape

    @property
    def count(self) -> None:
        return None

    def images(self, seeds: Sequence[int], run_seed: int, batch_size: int) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """Yield 8-bit RGB images in the order of `seeds`, batch_size at a time; the noise belongs to the seed."""
        for start in range(0, len(seeds), batch_size):
            several = seeds[start : start + batch_size]
            generators = [generator(run_seed, seed) for seed in several]
            texts = [self.prompts.of(seed) for seed in several] if self.prompts else []
            noise = draw(generators, self.model.latent_shape, self.model.device)
            yield to_pixels(self.model.decode(self.latents(noise, texts, generators)))

    @torch.no_grad()
    def latents(
        self, noise: Float[Tensor, "b c h w"], texts: Sequence[str], generators: list[torch.Generator]
    ) -> Float[Tensor, "b c h w"]:
        """What is painted of standard normal noise and a text for each; ancestral steps draw from the generators."""
        told = self.model.embedded(texts) if texts else None
        guided = told is not None and self.guidance > 1
        untold = self.model.embedded([self.negative_prompt] * len(texts)) if guided else None
        scheduler = scheduler_of(self.model, self.solver, self.steps)
        drawn = {"generator": generators} if self.solver == "ddpm" else {}
        x = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            out = predicted(self.model, scheduler.scale_model_input(x, t), int(t), told, untold, self.guidance)
            x = scheduler.step(out, t, x, **drawn).prev_sample
        return x

    def provenance(self, seed: int) -> dict[str, Any]:
        """Solver, steps, and of a model that reads words the seed's prompt with how it is followed."""
        said = dict(self._settings)
        return said | {"prompt": self.prompts.of(seed)} if self.prompts else said

    @property
    def _settings(self) -> dict[str, Any]:
        words = {"guidance": self.guidance, "negative_prompt": self.negative_prompt} if self.prompts else {}
        return {"painter": "latent", "solver": self.solver, "steps": self.steps, **words}

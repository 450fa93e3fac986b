"""A latent diffusion model as a feature source: its UNet reads the noised latents of an image."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from generate import LatentModel
from generate.activations import Where
from generate.seeds import draw, generator
from label.errors import InterpreterError, LabelError
from label.feature_records import check_denoiser, features_digest, features_record, place_of_denoiser, stored_noise
from label.features import by_step_first, channels_of, must_be_steps, write_stored


class LatentFeatures:
    """Decoder activations of a latent diffusion model's UNet at a few noise levels of the encoded image.

    Every image's latents are noised with the same `noise` [1, c, h, w]. A model that reads words is told `prompt`, by
    default nothing, without guidance. Maps are ordered by step first, then by block. Raises ValueError for a step or
    block that the model does not have, and for a prompt where no words are read.
    """

    def __init__(
        self,
        model: LatentModel,
        *,
        steps: Sequence[int] = (50, 150, 250),
        blocks: Sequence[int] = (5, 6, 7, 8),
        where: Where = "output",
        prompt: str = "",
        noise: Float[Tensor, "1 c h w"] | None = None,
    ) -> None:
        model.check_blocks(blocks)
        must_be_steps(steps, len(model.schedule))
        if prompt:
            model.check_prompts([prompt])
        shape = model.latent_shape
        noise = draw([generator(0, 0)], shape) if noise is None else noise.float().cpu()
        if noise.shape != (1, *shape):
            raise LabelError(f"noise is {list(noise.shape)}; the latents of one image are {[1, *shape]}")
        self.denoiser, self.steps, self.blocks, self.prompt = model, tuple(steps), tuple(blocks), prompt
        self.where: Where = where
        self.noise = noise

    @property
    def image_size(self) -> tuple[int, int]:
        return self.denoiser.image_shape[1:]

    @property
    def channels(self) -> int:
        return len(self.steps) * channels_of(self.denoiser.blocks, self.blocks, self.where)

    @property
    def digest(self) -> str:
        return features_digest(
            self.denoiser.digest, self.steps, self.blocks, self.where, self.noise.numpy(), self.prompt
        )

    def maps(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Float[Tensor, "b _ _ _"]]:
        """All steps run as one batch of the UNet, which ends at the last wanted block."""
        model, repeats = self.denoiser, len(self.steps)
        x_0 = model.encode(images).repeat(repeats, 1, 1, 1)
        t = torch.tensor(self.steps, device=model.device).repeat_interleave(len(images))
        x_t = model.schedule.add_noise(x_0, t, self.noise.to(model.device))
        told = model.embedded([self.prompt] * len(x_t))
        by_block = model.activations(x_t, t, told, self.blocks, self.where)
        return list(by_step_first(by_block, repeats))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write features.json and features.safetensors into a folder that is there."""
        source = self.denoiser.source
        record = {
            "denoiser": self.denoiser.digest,
            "source": source and asdict(source),
            "steps": self.steps,
            "blocks": self.blocks,
            "where": self.where,
            "prompt": self.prompt,
        }
        write_stored(Path(folder), "features", record, {"noise": self.noise})

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, model: LatentModel | None = None, *, device: str | torch.device = "cpu"
    ) -> "LatentFeatures":
        """The features that were saved in `folder`; without a model, it is opened from where it was at the time.

        Raises InterpreterError for a folder without such features and for a model other than theirs, CheckpointError
        where the model cannot be opened.
        """
        folder = Path(folder)
        record = features_record(folder)
        if "prompt" not in record:
            raise InterpreterError(f"the interpreter in {folder} reads no latent diffusion model; fit it again")
        if model is None:
            path, _ = place_of_denoiser(folder, record)
            model = LatentModel.from_pretrained(path, device=device)
        check_denoiser(folder, record, model.digest)
        noise = torch.from_numpy(stored_noise(folder))
        where = cast(Where, record["where"])
        return cls(
            model,
            steps=record["steps"],
            blocks=record["blocks"],
            where=where,
            prompt=record["prompt"],
            noise=noise,
        )

"""Networks that are told the deviation of the noise: consistency models, and EDM's (arXiv 2303.01469, 2206.00364)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from diffusers import UNet2DModel
from jaxtyping import Float
from torch import Tensor, nn

from generate.checkpoint import open_guided, open_unet
from generate.consistency_files import Kind, NoiseLevels, levels_of, locate_consistency, must_ascend
from generate.errors import GenerateError
from generate.guided_flags import Flags
from generate.identity import StateDict
from generate.layout import fastest_layout
from generate.shape import image_shape

Network = TypeVar("Network", bound="NoiseNetwork")


class NoiseNetwork(nn.Module):
    """A UNet F with the noise levels it was trained on and a digest that names the two."""

    kind: ClassVar[Kind]

    def __init__(self, unet: UNet2DModel, levels: NoiseLevels, digest: str) -> None:
        super().__init__()
        self.unet = unet.requires_grad_(False).eval()
        self.layout = fastest_layout(unet.device)
        self.unet.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.levels = levels
        self.digest = digest

    @classmethod
    def from_pretrained(
        cls: type[Network],
        source: str | Path,
        *,
        flags: Flags | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Network:
        """Open a cd_*.pt, ct_*.pt or edm_*.pt with its flags.

        A consistency model may also be a folder of diffusers' ConsistencyModelPipeline, or a Hub id. Raises
        CheckpointError in one sentence.
        """
        files = locate_consistency(source, flags, cls.kind)
        levels, there, precision = levels_of(files), torch.device(device), dtype or torch.float32
        if isinstance(files, StateDict):
            unet, _ = open_guided(files.path, files.flags, there, precision, attention_sides=2)
        else:
            unet = open_unet(files, there, precision)
        return cls(unet, levels, files.digest())

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its images."""
        return image_shape(self.unet.config)

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
        """F(c_in x, 1000/4 ln(sigma)), in float32: c_in makes the input's variance that of the noise-free 1."""
        told = 250 * torch.full((len(x),), sigma, device=x.device).log()
        scaled = x / (sigma**2 + self.levels.sigma_data**2) ** 0.5
        raw = self.unet(scaled.to(self.unet.dtype, memory_format=self.layout), told).sample
        return raw.to(torch.float32)


class ConsistencyModel(NoiseNetwork):
    """A network that says the image at any noise level of a trajectory, and so paints in one step."""

    kind = "consistency"

    def denoise(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
        """x_0 = c_skip x + c_out F, which is x itself at the least noise (arXiv 2303.01469, appendix C)."""
        low, data = self.levels.sigma_min, self.levels.sigma_data
        c_skip = data**2 / ((sigma - low) ** 2 + data**2)
        c_out = (sigma - low) * data / (sigma**2 + data**2) ** 0.5
        return c_out * self(x, sigma) + c_skip * x

    def trajectory(
        self,
        noise: Float[Tensor, "b c h w"],
        *,
        ts: Sequence[int],
        steps: int = 40,
        step_noise: Iterable[Tensor] | None = None,
    ) -> Iterator[Float[Tensor, "b c h w"]]:
        """Yield x after each step, the last being the image in [-1, 1] (arXiv 2303.01469, algorithm 1).

        `noise` is standard normal; `ts` count `steps` noise levels and ascend from 0, the most noise; steps - 1 at
        their end is that of the trajectory, and no step. `step_noise` [steps, b, c, h, w] replaces the noise that would
        be drawn from torch's global generator. Raises GenerateError for other ts.
        """
        must_ascend(ts, steps)
        grid, low = self.levels.grid(steps), self.levels.sigma_min
        asked = [grid[t] for t in ts if t == 0 or t < steps - 1]
        random = iter(step_noise) if step_noise is not None else (torch.randn_like(noise) for _ in asked)
        x = grid[0] * noise
        for sigma, after in zip(asked, [*asked[1:], low], strict=True):
            x = self.denoise(x, sigma).clamp(-1, 1)
            if after > low:
                x = x + next(random).to(x) * (after**2 - low**2) ** 0.5
            yield x


class EdmModel(NoiseNetwork):
    """EDM's denoiser: the network that consistency models are distilled from."""

    kind = "edm"

    def denoise(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
        """x_0 = c_skip x + c_out F (arXiv 2206.00364, table 1)."""
        data = self.levels.sigma_data
        c_skip, c_out = data**2 / (sigma**2 + data**2), sigma * data / (sigma**2 + data**2) ** 0.5
        return c_out * self(x, sigma) + c_skip * x

    def trajectory(self, noise: Float[Tensor, "b c h w"], *, steps: int) -> Iterator[Float[Tensor, "b c h w"]]:
        """Yield x after each of Heun's steps (arXiv 2206.00364, algorithm 1), the last being the image in [-1, 1].

        `noise` is standard normal. Every step but the last asks the network twice. Raises GenerateError for no steps.
        """
        if steps < 1:
            raise GenerateError(f"{steps} solver steps were asked for; at least 1 is needed")
        sigmas = [*self.levels.grid(steps), 0.0]
        x = sigmas[0] * noise
        for sigma, after in pairwise(sigmas):
            slope = (x - self.denoise(x, sigma).clamp(-1, 1)) / sigma
            x_after = x + (after - sigma) * slope
            if after:
                slope_after = (x_after - self.denoise(x_after, after).clamp(-1, 1)) / after
                x_after = x + (after - sigma) * (slope + slope_after) / 2
            x = x_after
            yield x if after else x.clamp(-1, 1)

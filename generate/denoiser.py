"""A trained diffusion model: its forward pass, its noising, and the activations of its decoder."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMPipeline, UNet2DModel
from jaxtyping import Float, Int
from torch import Tensor, nn

from generate.activations import DecoderBlock, Where, activations, decoder_blocks, must_be_blocks
from generate.checkpoint import check_portable, open_checkpoint
from generate.guided_flags import Flags
from generate.layout import fastest_layout
from generate.schedule import Schedule
from generate.settings import CompileMode
from generate.shape import image_shape


@dataclass(frozen=True)
class Source:
    """Where a denoiser was opened from."""

    path: str  # absolute, or a Hub id
    flags: Flags | None


class Denoiser(nn.Module):
    """A UNet with the schedule it was trained on and a digest that names the two.

    Decoder blocks are counted from 0 at the lowest resolution, as the publication counts them (arXiv 2112.03126).
    """

    def __init__(self, unet: UNet2DModel, schedule: Schedule, digest: str) -> None:
        super().__init__()
        self.unet = unet.requires_grad_(False).eval()
        self.layout = fastest_layout(unet.device)
        self.unet.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.schedule = schedule
        self.digest = digest
        self.source: Source | None = None  # None for weights that were not opened from anywhere
        self.compiled: CompileMode | None = None
        self._forward: Callable[..., Any] = self.unet

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        flags: Flags | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> "Denoiser":
        """Open a guided-diffusion state_dict (.pt) with its flags, a diffusers folder, or a Hub id.

        Flags are the published command line, a mapping, or a preset's name (arXiv 2105.05233). dtype None means
        float32. Raises CheckpointError in one sentence.
        """
        opened = cls(*open_checkpoint(source, flags, torch.device(device), dtype or torch.float32))
        path = Path(source)
        opened.source = Source(str(path.resolve() if path.exists() else source), flags)
        return opened

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that from_pretrained and diffusers' DDPMPipeline open.

        Raises CheckpointError for what a UNet2DModel's configuration cannot say.
        """
        check_portable(self.unet, self.schedule)
        unet = copy.deepcopy(self.unet).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        DDPMPipeline(unet, self.schedule.to_diffusers()).save_pretrained(folder)  # type: ignore[arg-type]

    def compile(self, mode: CompileMode = "default") -> None:
        """Run the forward pass, activations aside, through torch.compile, for each size of batch when it comes.

        "reduce-overhead" replays it as a CUDA graph, for networks so small that a GPU waits for the host. What inductor
        would choose by a stopwatch is left out where it changes last bits, so that all processes compute the same.
        """
        torch._dynamo.config.recompile_limit = 256  # sizes of batches; more than 8 are an error otherwise
        options: dict[str, Any] = {"deterministic": True, "triton.cudagraphs": mode == "reduce-overhead"}
        self._forward = torch.compile(self.unet, dynamic=False, fullgraph=True, options=options)
        self.compiled = mode

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its images."""
        return image_shape(self.unet.config)

    @torch.no_grad()
    def forward(self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]) -> Float[Tensor, "b out h w"]:
        """The raw output at original timesteps t, in float32; with a learned variance, `out` is twice `c`."""
        raw = self._forward(self._input(x_t), self._counted(t)).sample
        return raw.to(torch.float32, copy=True)  # the next replay of a CUDA graph writes over its output

    def _input(self, x_t: Tensor) -> Tensor:
        return x_t.to(self.unet.dtype, memory_format=self.layout)

    def _counted(self, t: Int[Tensor, " b"]) -> Tensor:
        """t as the network counts it."""
        return t if self.schedule.time_scale == 1 else t * self.schedule.time_scale

    def add_noise(self, x_0: Float[Tensor, "b c h w"], t: Int[Tensor, " b"], noise: Tensor) -> Float[Tensor, "b c h w"]:
        """The image in [-1, 1] at noise level t; `noise` is standard normal and may be one image's, shared by all."""
        return self.schedule.add_noise(x_0, t, noise)

    @property
    def blocks(self) -> list[DecoderBlock]:
        """The decoder's residual blocks, from the lowest resolution up."""
        return decoder_blocks(self.unet)

    def check_blocks(self, blocks: Sequence[int]) -> None:
        """Raise ValueError when a block is not one of the decoder's."""
        must_be_blocks(blocks, len(self.blocks))

    @torch.no_grad()
    def activations(
        self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"], blocks: Sequence[int], where: Where = "output"
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """The maps of decoder blocks at their own resolution, in the order of `blocks`.

        Nothing behind the last wanted block is computed. Raises ValueError for a block that does not exist.
        """
        self.check_blocks(blocks)
        return activations(self.blocks, blocks, where, lambda: self.unet(self._input(x_t), self._counted(t)))

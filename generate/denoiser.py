"""A trained diffusion model: its forward pass, its noising, and the activations of its decoder."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DDPMPipeline, UNet2DModel
from jaxtyping import Float, Int
from torch import Tensor, nn

from generate.checkpoint import check_portable, open_checkpoint
from generate.errors import GenerateError
from generate.guided_flags import Flags
from generate.schedule import Schedule
from generate.settings import CompileMode

Where = Literal["output", "input"]


class _LastBlockReached(Exception):
    """Ends a forward pass at the last activation that is wanted."""


@dataclass(frozen=True)
class DecoderBlock:
    """One residual block of the decoder with what follows it up to the next: attention, and the level's upsampler."""

    first: nn.Module  # its input is the block's: the map from below joined with the skip connection
    last: nn.Module  # its output is the block's


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
        self.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # what convolutions run fastest in
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
        size = self.unet.config["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        return self.unet.config["in_channels"], height, width

    @torch.no_grad()
    def forward(self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]) -> Float[Tensor, "b out h w"]:
        """The raw output at original timesteps t, in float32; with a learned variance, `out` is twice `c`."""
        raw = self._forward(self._input(x_t), self._counted(t)).sample
        return raw.to(torch.float32, copy=True)  # the next replay of a CUDA graph writes over its output

    def _input(self, x_t: Tensor) -> Tensor:
        return x_t.to(self.unet.dtype, memory_format=torch.channels_last)

    def _counted(self, t: Int[Tensor, " b"]) -> Tensor:
        """t as the network counts it."""
        return t if self.schedule.time_scale == 1 else t * self.schedule.time_scale

    def add_noise(self, x_0: Float[Tensor, "b c h w"], t: Int[Tensor, " b"], noise: Tensor) -> Float[Tensor, "b c h w"]:
        """The image in [-1, 1] at noise level t; `noise` is standard normal and may be one image's, shared by all."""
        return self.schedule.add_noise(x_0, t, noise)

    @property
    def blocks(self) -> list[DecoderBlock]:
        """The decoder's residual blocks, from the lowest resolution up."""
        blocks: list[DecoderBlock] = []
        for level in self.unet.up_blocks:
            resnets, attentions, upsamplers = (
                list(getattr(level, part, None) or ()) for part in ("resnets", "attentions", "upsamplers")
            )
            blocks += [DecoderBlock(first, last) for first, last in zip(resnets, attentions or resnets, strict=True)]
            if upsamplers:
                blocks[-1] = DecoderBlock(resnets[-1], upsamplers[-1])
        return blocks

    def check_blocks(self, blocks: Sequence[int]) -> None:
        """Raise ValueError when a block is not one of the decoder's."""
        known = range(len(self.blocks))
        unknown = [b for b in blocks if b not in known]
        if unknown or not blocks:
            raise GenerateError(
                f"blocks {list(blocks)} were asked for, but this UNet's decoder has blocks 0 to {known[-1]}"
                + (f": {unknown} are not among them" if unknown else " and at least one is needed")
            )

    @torch.no_grad()
    def activations(
        self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"], blocks: Sequence[int], where: Where = "output"
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """The maps of decoder blocks at their own resolution, in the order of `blocks`.

        Nothing behind the last wanted block is computed. Raises ValueError for a block that does not exist.
        """
        self.check_blocks(blocks)
        maps: dict[int, Tensor] = {}

        def keep(block: int, _module: nn.Module, inputs: tuple[Any, ...], output: Tensor | None = None) -> None:
            maps[block] = inputs[0] if output is None else output
            if len(maps) == len(set(blocks)):
                raise _LastBlockReached

        handles = []
        for number in set(blocks):
            block, hook = self.blocks[number], partial(keep, number)
            if where == "output":
                handles.append(block.last.register_forward_hook(hook))
            else:
                handles.append(block.first.register_forward_pre_hook(hook))
        try:
            self.unet(self._input(x_t), self._counted(t))
        except _LastBlockReached:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return [maps[b] for b in blocks]

"""What a recipe may set of this room. Needs no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, Strict

from generate.errors import GenerateError

Solver = Literal["ddpm", "ddim", "dpmsolver++", "dpmsolver++3m", "unipc"]
Spacing = Literal["even", "log_snr"]
CompileMode = Literal["default", "reduce-overhead"]  # of torch.compile
PhotographFit = Literal["stretch", "pad"]
Weighting = Literal["none", "min_snr"]
Timesteps = Literal["uniform", "stratified"]
Crop = Literal["centre", "random"]
Preset = Literal["adm_64", "adm_128", "adm_256"]
Count = Annotated[int, Field(ge=1)]
Channels = Annotated[int, Field(ge=1, le=16384)]


@dataclass(frozen=True)
class Network:
    """The shape of a UNet that is trained from scratch."""

    size: Annotated[int, Field(ge=8, le=16384)] = 64
    """Side of its square images, in pixels."""
    channels: Annotated[tuple[Channels, ...], Strict(False), Field(min_length=2, max_length=16)] = (32, 64, 96, 128)
    """Channels of each level; a level has half the resolution of the one before."""
    layers: Annotated[int, Field(ge=1, le=64)] = 1
    """Residual blocks of a level."""
    attention: Annotated[tuple[Count, ...], Strict(False)] = (8,)
    """Resolutions, in pixels, at which there is attention."""
    head_channels: Count = 32
    """Channels of one head of the attention."""
    norm_groups: Count = 8
    """Groups of every group norm; they divide each of the channels."""

    def __post_init__(self) -> None:
        if any(c % self.norm_groups for c in self.channels):
            raise GenerateError(f"norm_groups {self.norm_groups} must divide each of channels {list(self.channels)}")
        if self.size % 2 ** (len(self.channels) - 1):
            raise GenerateError(f"size {self.size} cannot be halved {len(self.channels) - 1} times")


@dataclass(frozen=True)
class Training:
    """How a diffusion model is trained, by AdamW; one update sees batch_size images."""

    updates: Count = 12_500
    """Optimiser steps of the training."""
    batch_size: Count = 16
    """Images of an update."""
    learning_rate: Annotated[float, Field(gt=0)] = 6e-4
    """Learning rate of AdamW after the warm-up; from there it falls to 0 along half a cosine."""
    warmup: Count = 200
    """Updates over which the learning rate rises."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the moving average of the weights, which is kept in their place."""
    mirror: bool = False
    """Whether half of the images are flipped left to right, where a mirrored one is as likely."""
    crop: Crop = "centre"
    """The square of an image that is seen: the central one; or any, four fifths of the shorter side or more, each time
    another."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The seed of the weights, the order of the images and the noise."""
    checkpoint_every: Count = 250
    """Updates between checkpoints, from which a training that was lost goes on."""
    weighting: Weighting = "none"
    """How a noise level counts in the loss; min_snr: by the least of its signal-to-noise ratio and min_snr_gamma."""
    min_snr_gamma: Annotated[float, Field(gt=0)] = 5.0
    """The most that a noise level counts with min_snr."""
    timesteps: Timesteps = "uniform"
    """How the noise levels of an update are drawn; stratified: spread evenly, which makes its loss less noisy."""
    accumulate: Count = 1
    """Parts in which an update's images pass the network, one after the other, where memory is short."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto: bfloat16 on a GPU, float32 elsewhere."""

    def __post_init__(self) -> None:
        if self.accumulate > self.batch_size:
            raise GenerateError(f"accumulate {self.accumulate} leaves parts of batch_size {self.batch_size} empty")


@dataclass(frozen=True)
class Source:
    """Where the images of a dataset come from."""

    images: Literal["denoiser", "photographs", "both"] = "denoiser"
    """What is labelled: what the denoiser paints, what lies in paths.photographs, or both, as a dataset each."""
    photographs: Count | None = None
    """At most so many of the photographs, in the order of their paths; unset: all."""
    fit: PhotographFit = "stretch"
    """How a photograph comes to the denoiser's size, as in `segment`; it is stored as it was labelled."""

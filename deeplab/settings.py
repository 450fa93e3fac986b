"""What a recipe may set of this room: the shape of a network, and how it is trained. Needs no torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from pydantic import Field, Strict

from deeplab.errors import NetworkError

Augmentation = Literal["none", "mirrored", "strong", "strong_mirrored"]
Loss = Literal["cross_entropy", "cross_entropy+dice", "cross_entropy+focal"]
Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["constant", "cosine"]
SCHEDULES: dict[Schedule, Callable[[float], float]] = {  # portion of the steps done -> factor of the learning rate
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
WEIGHT_FILES = (".pt", ".pth", ".bin", ".safetensors")  # encoder weights that are a file, not a name
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Network:
    """The shape of a DeepLab, and the weights that its encoder begins with; the defaults are the published ones."""

    variant: Literal["v3", "v3+"] = "v3"
    """v3 is the published DeepLab, whose masks are as coarse as its stride; v3+ refines them, as small images need."""
    encoder: str = "resnet101"
    """The encoder, by its name in segmentation_models_pytorch, or "tu-" and its name in timm."""
    encoder_weights: str | None = None
    """What the encoder begins with: a name, as "imagenet", or a file, also a network's own; unset: random weights."""
    encoder_depth: Literal[3, 4, 5] = 5
    """Stages of the encoder; 3 reach stride 8, the later ones see further at that stride and cost most of the time."""
    output_stride: Literal[8, 16] = 8
    """Side, in pixels of the image, of what one pixel of the encoder's last map stands for."""
    decoder_channels: Annotated[int, Field(ge=1, le=16384)] = 256
    """Channels of the decoder."""
    atrous_rates: Annotated[tuple[Count, ...], Strict(False), Field(min_length=3, max_length=3)] = (12, 24, 36)
    """How far the decoder looks, in pixels of the last map; a rate as long as the side of that map sees nothing."""
    aspp_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the decoder's channels that a training step leaves out."""
    scale: Count = 1
    """How often images are enlarged on their way in, and logits averaged coming out; 2 helps where things are small."""

    def __post_init__(self) -> None:
        check_names(self)
        if self.scale < 1:
            raise NetworkError(f"scale is {self.scale}; images are enlarged by a whole number, 1 or more")

    @property
    def weights_file(self) -> Path | None:
        """The file that the encoder begins with, if that is one."""
        weights = self.encoder_weights
        return Path(weights) if weights and Path(weights).suffix in WEIGHT_FILES else None


@dataclass(frozen=True)
class Optimisation:
    """How a network is trained, by Adam; one step sees `accumulate` batches, whose losses are averaged."""

    steps: Count = 20_000
    """Optimiser steps of a training."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of Adam; the highest, where it changes."""
    schedule: Schedule = "constant"
    """How the learning rate changes; cosine: it falls to 0."""
    loss: Loss = "cross_entropy"
    """What training lowers: cross entropy, alone or with a second term."""
    accumulate: Count = 1
    """Batches of a step, whose losses are averaged."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a moving average of the weights, which is kept in their place; 0: no average."""
    precision: Precision = "auto"
    """Precision of the forward pass; auto: bfloat16 on a GPU, float32 on a CPU."""

    def __post_init__(self) -> None:
        check_names(self)
        if self.steps < 1 or self.accumulate < 1:
            raise NetworkError(f"{self.steps} steps of {self.accumulate} batches were asked for; at least 1 is needed")

    def rate(self, done: int) -> float:
        """Learning rate of the step after `done` steps."""
        return self.learning_rate * SCHEDULES[self.schedule](done / self.steps)


def check_names(settings: Network | Optimisation) -> None:
    """Raises NetworkError for a value that is none of those that its field knows."""
    for field in fields(settings):
        value, known = getattr(settings, field.name), get_args(field.type)
        if get_origin(field.type) is Literal and value not in known:
            raise NetworkError(f"{field.name} is {value!r}; known are {', '.join(map(str, known))}")

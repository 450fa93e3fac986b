"""What a recipe may set of this room."""

from dataclasses import dataclass
from typing import Literal

Solver = Literal["ddpm", "ddim", "dpmsolver++", "dpmsolver++3m", "unipc"]
CompileMode = Literal["default", "reduce-overhead"]  # of torch.compile


@dataclass(frozen=True)
class Training:
    """Settings of a diffusion model's training. One update sees batch_size images."""

    updates: int
    batch_size: int = 16
    learning_rate: float = 6e-4  # AdamW's highest, after the warm-up; cosine decay to 0
    warmup: int = 200
    ema_decay: float = 0.999
    mirror: bool = True  # flip half of the images left to right
    seed: int = 0
    checkpoint_every: int = 250

"""What the trainings of encoders share: the drawings in memory, and a loop that goes on from its last checkpoint.

A batch is a function of (seed, update): which drawings, how they are cropped or masked. So a training that was stopped
and goes on ends with the weights of one that was not. The rate stays the same after its warmup, and what is written are
averaged weights: so a training may be ended at any checkpoint.
"""

import argparse
import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from label.backbone import IMAGENET_MEAN, IMAGENET_STD

_AVERAGED = 0.995  # of the weights before, at each update
_WARMUP, _BETWEEN_CHECKPOINTS = 100, 50  # updates


@dataclass(frozen=True)
class Training:
    """How long, and how fast; AdamW."""

    images_seen: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int = 0

    @property
    def updates(self) -> int:
        return self.images_seen // self.batch_size


def parser_of(description: str | None, batch_size: int, seen: int) -> argparse.ArgumentParser:
    """The options that all trainings have; what each of them says of itself is in its docstring."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drawings", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--seen", type=int, default=seen)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--bfloat16", action="store_true", help="compute in halves, where the processor has them")
    return parser


def drawings(folder: Path, count: int) -> Tensor:
    """The first so many PNGs of the folder, uint8 [n, 3, h, w]."""
    paths = sorted(folder.glob("*.png"))[:count]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def normalised(pixels: Tensor) -> Tensor:
    """As every backbone of `label` sees them: ImageNet's mean and deviation. Takes values in [0, 1]."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels - mean) / std


def train(
    model: nn.Module,
    images: Tensor,
    settings: Training,
    loss_of: Callable[[Tensor, int], Tensor],
    out: Path,
    write: Callable[[dict[str, Tensor]], None],
) -> None:
    """Minimise `loss_of(batch in [0, 1], update)`; `write` is given the averaged weights at every checkpoint.

    The checkpoint is OUT.part.
    """
    checkpoint = out.with_name(f"{out.name}.part")
    optimizer = torch.optim.AdamW(_groups(model, settings.weight_decay), settings.learning_rate, betas=(0.9, 0.95))
    average = copy.deepcopy(model.state_dict())
    first, spent = _gone_on_with(checkpoint, model, optimizer, average)
    begun, losses = time.process_time(), []
    for update in range(first, settings.updates):
        torch.manual_seed(settings.seed * 1_000_003 + update)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min((update + 1) / _WARMUP, 1.0)
        loss = loss_of(_batch(images, settings.batch_size), update)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimizer.step()
        _average(average, model)
        losses.append(loss.item())
        if (update + 1) % _BETWEEN_CHECKPOINTS == 0 or update + 1 == settings.updates:
            seconds, seen = spent + time.process_time() - begun, (update + 1) * settings.batch_size
            print(f"{seen} images seen: loss {np.mean(losses):.4f}, {seconds:.0f} s of one thread", flush=True)
            losses.clear()
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            save(state | {"update": update + 1, "seconds": seconds}, checkpoint)
            write(average)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _batch(images: Tensor, count: int) -> Tensor:
    """Drawings at random, half of them mirrored, in [0, 1]."""
    chosen = images[torch.randint(len(images), (count,))].float() / 255
    return torch.where(torch.rand(count, 1, 1, 1) < 0.5, chosen.flip(3), chosen)


@torch.no_grad()
def _average(average: dict[str, Tensor], model: nn.Module) -> None:
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            average[key].lerp_(tensor, 1 - _AVERAGED)
        else:
            average[key].copy_(tensor)


def _gone_on_with(
    checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]
) -> tuple[int, float]:
    """The update that comes next, and the seconds that are spent."""
    if not checkpoint.is_file():
        return 0, 0.0
    kept = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    average.update(kept["average"])
    return kept["update"], kept["seconds"]


def save(state: dict[str, Any], path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)

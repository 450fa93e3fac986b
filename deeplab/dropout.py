"""Dropout that belongs to an image, so that a step is the same however its images are spread over workers."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class SeededDropout(nn.Module):
    """As nn.Dropout, but after `seed_dropout` every image of the next batch draws from a seed of its own."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generators: list[torch.Generator] = []  # of the images of the next batch

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if not self.training or self.p == 0:
            return images
        generators, self.generators = self.generators, []
        if not generators:
            return F.dropout(images, self.p)
        assert len(generators) == len(images)
        draws = [torch.rand(images.shape[1:], generator=g, device=images.device) for g in generators]
        return images * (torch.stack(draws) >= self.p) / (1 - self.p)


def replace_dropout(module: nn.Module) -> None:
    """Put SeededDropout in place of every nn.Dropout below a module."""
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout):
            setattr(module, name, SeededDropout(child.p))
        else:
            replace_dropout(child)


def seed_dropout(model: nn.Module, seeds: Sequence[int], device: torch.device) -> None:
    """Seed the draws of the next batch, one seed an image."""
    for module in model.modules():
        if isinstance(module, SeededDropout):
            module.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

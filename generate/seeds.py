"""Randomness that belongs to a sample: a function of (run seed, seed), never of batch, rank or call order."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def generator(run_seed: int, seed: int) -> torch.Generator:
    """A CPU generator of its own for the pair; CPU, so that every device is given the same numbers."""
    words = np.random.SeedSequence([run_seed, seed]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]))


def draw(
    generators: Sequence[torch.Generator], shape: tuple[int, ...], device: torch.device | None = None
) -> Float[Tensor, "b ..."]:
    """Standard normal noise [len(generators), *shape] on the device, one generator a row.

    The way to a GPU is queued there: the host does not wait until the GPU has come to it.
    """
    on_gpu = device is not None and device.type == "cuda"
    noise = torch.empty(len(generators), *shape, pin_memory=on_gpu)
    for row, generator_of_row in zip(noise, generators, strict=True):
        row.normal_(generator=generator_of_row)
    return noise.to(device, non_blocking=on_gpu)

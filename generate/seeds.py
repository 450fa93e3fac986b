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


def draw(generators: Sequence[torch.Generator], shape: tuple[int, ...]) -> Float[Tensor, "b ..."]:
    """Standard normal noise [len(generators), *shape], one generator a row."""
    return torch.stack([torch.randn(shape, generator=g) for g in generators])

"""From seeds to images, a batch after the other, for whatever turns noise into an image."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from generate import seeds as randomness
from generate.pixels import to_pixels

Trajectory = Callable[[Tensor, Iterable[Tensor]], Iterator[Tensor]]
"""Standard normal noise, and what is drawn for each step, to x after each step, the last being in [-1, 1]."""


def painted(
    trajectory: Trajectory,
    shape: tuple[int, int, int],
    device: torch.device,
    seeds: Sequence[int],
    *,
    run_seed: int,
    batch_size: int,
) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
    """Yield 8-bit RGB images in the order of `seeds`; all noise of one comes from (run_seed, its seed)."""

    def draw(generators: list[torch.Generator]) -> Tensor:
        return randomness.draw(generators, shape, device)

    def begun(start: int) -> tuple[list[torch.Generator], Tensor]:
        """A batch's generators, and the noise that it begins with."""
        generators = [randomness.generator(run_seed, seed) for seed in seeds[start : start + batch_size]]
        return generators, draw(generators)

    batches = map(begun, range(0, len(seeds), batch_size))
    batch = next(batches, None)
    while batch is not None:
        generators, noise = batch
        *_, x_0 = trajectory(noise, map(draw, itertools.repeat(generators)))
        batch = next(batches, None)  # before a GPU is waited for
        yield to_pixels(x_0)

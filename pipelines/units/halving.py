"""A batch that is halved when a GPU has no memory for it."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


@dataclass
class Halving(Generic[T]):
    """Calls `make(unit, batch_size)`; out of memory, it halves the batch for good and begins the unit anew.

    Raises torch.OutOfMemoryError where there is no room for a single image.
    """

    make: Callable[[int, int], T]
    batch_size: int

    def __call__(self, unit: int) -> T:
        while True:
            try:
                return self.make(unit, self.batch_size)
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
            self.batch_size = -(-self.batch_size // 2)
            gc.collect()  # here and not in the handler, whose traceback holds the tensors
            torch.cuda.empty_cache()

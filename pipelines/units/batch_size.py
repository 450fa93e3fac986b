"""generate.batch_size = "auto": how many images a device has room for at once, measured by making more and more.

One actor measures it once, and dataset.json keeps it: an image's last bits depend on the batch that it is made in.
"""

import math
import socket
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch

from generate import ImageSource
from pipelines.recipe import Recipe
from pipelines.units.images import painted_images
from pipelines.units.models import Models

_STEPS = 4  # of a solver; more take no more memory
_SHARE = 0.85  # of the free memory; the rest is for what the allocator cannot use
_CPU = 16  # a processor's caches hold no more than a few images: larger batches take as long an image


def measuring(recipe: Recipe, device: str) -> Callable[[int], int]:
    """Open the recipe's models; the function that is returned answers with the batch, whatever it is asked."""
    uncompiled = recipe.denoiser.model_copy(update={"compile": None})  # or it is compiled for sizes of no use
    recipe = recipe.model_copy(update={"denoiser": uncompiled})
    models = Models.of(recipe, device)
    return lambda _: largest_batch(models, recipe, device)


def largest_batch(models: Models, recipe: Recipe, device: str) -> int:
    """Images that fit into the device's free memory while they are sampled and labelled, a unit at most."""
    settings = recipe.generate
    if device == "cpu":
        return even(_CPU, settings.unit_size)
    quick = recipe.model_copy(update={"generate": settings.changed(steps=min(_STEPS, settings.steps))})
    batches = partial(_batches, models, quick, painted_images(quick, device, models.denoiser))
    _peak(models, batches, 1)  # what libraries allocate at their first call
    torch.cuda.empty_cache()
    room = _SHARE * torch.cuda.mem_get_info()[0]
    return even(batch_for(partial(_peak, models, batches), room, settings.unit_size), settings.unit_size)


def batch_for(peak: Callable[[int], float], room: float, most: int) -> int:
    """A batch whose peak, in bytes, is within `room`, and more than half of the largest; `peak` is asked, doubling.

    Memory is no line through a few small batches: what grows fastest begins to show in larger ones. But more images
    take no more than their share of what fewer take. Raises RuntimeError where not even one image fits.
    """
    batch, taken = 1, peak(1)
    if taken > room:
        raise RuntimeError(
            f"an image takes {taken / 2**30:.1f} GiB, {socket.gethostname()} has {room / 2**30:.1f} GiB for it"
        )
    while batch < most and (more := peak(twice := min(2 * batch, most))) <= room:
        batch, taken = twice, more
    return min(most, int(batch * room / taken))


def even(most: int, unit_size: int) -> int:
    """The smallest batch that cuts a unit into no more batches than `most` does, so that none is nearly empty."""
    return -(-unit_size // -(-unit_size // most))


def _peak(models: Models, batches: Callable[[int], Iterable[np.ndarray]], batch_size: int) -> float:
    """Bytes on the GPU beside the models; infinitely many where it has no room."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    try:
        for images in batches(batch_size):
            models.interpreter.predict(images)
    except torch.OutOfMemoryError:
        return math.inf
    return torch.cuda.max_memory_allocated() - before


def _batches(models: Models, recipe: Recipe, source: ImageSource, batch_size: int) -> Iterable[np.ndarray]:
    """One batch as a unit has it; of photographs a blank one, since they take the same room whatever they show."""
    settings = recipe.generate
    if settings.source.images == "photographs":
        _, height, width = models.denoiser.image_shape
        return [np.zeros((batch_size, height, width, 3), np.uint8)]
    return source.images(range(batch_size), settings.run_seed, batch_size)

"""generate.batch_size = "auto": how many images a device has room for at once, measured by making a few.

One actor measures it once, and dataset.json keeps it: an image's last bits depend on the batch that it is made in.
"""

import socket
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch

from generate import ImageSource
from pipelines.recipe import Recipe
from pipelines.units.images import painted_images
from pipelines.units.models import Models

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
    batches = partial(_batches, models, recipe, painted_images(recipe, device, models.denoiser))
    _peak(models, batches, 1)  # what libraries allocate at their first call
    of_one, of_three = _peak(models, batches, 1), _peak(models, batches, 3)
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_allocated()
    return even(batch_for(of_one, of_three, _SHARE * free, settings.unit_size), settings.unit_size)


def batch_for(of_one: float, of_three: float, room: float, most: int) -> int:
    """The batch whose peak, on the line through those of one and of three images, is within `room`; all in bytes.

    Raises RuntimeError where not even one image fits.
    """
    if of_one > room:
        raise RuntimeError(
            f"an image takes {of_one / 2**30:.1f} GiB, {socket.gethostname()} has {room / 2**30:.1f} GiB for it"
        )
    each = max((of_three - of_one) / 2, 1.0)
    return min(most, 1 + int((room - of_one) / each))


def even(most: int, unit_size: int) -> int:
    """The smallest batch that cuts a unit into no more batches than `most` does, so that none is nearly empty."""
    return -(-unit_size // -(-unit_size // most))


def _peak(models: Models, batches: Callable[[int], Iterable[np.ndarray]], batch_size: int) -> float:
    """Bytes on the GPU, the models' included."""
    torch.cuda.reset_peak_memory_stats()
    for images in batches(batch_size):
        models.interpreter.predict(images)
    return torch.cuda.max_memory_allocated()


def _batches(models: Models, recipe: Recipe, source: ImageSource, batch_size: int) -> Iterable[np.ndarray]:
    """One batch as a unit has it; of photographs a blank one, since they take the same room whatever they show."""
    settings = recipe.generate
    if settings.source.images == "photographs":
        _, height, width = models.denoiser.image_shape
        return [np.zeros((batch_size, height, width, 3), np.uint8)]
    return source.images(range(batch_size), settings.run_seed, batch_size)

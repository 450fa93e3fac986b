"""generate.batch_size = "auto": how many images a device has room for at once, measured by making a few.

It is asked once, of one actor, and kept in dataset.json: an image's last bits depend on the batch that it is made in.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass

import torch

from generate import sample
from pipelines import storage
from pipelines.dataset.manifest import open_dataset
from pipelines.recipe import Recipe
from pipelines.sections import GenerateSection
from pipelines.storage import Location
from pipelines.units.models import Models

_SHARE = 0.85  # of the free memory; the rest is for what the allocator cannot use
_CPU = 16  # a processor's caches hold no more than a few images: larger batches take as long an image


def kept_batch(folder: Location) -> int | None:
    """What the dataset in this folder is made with, if there is one."""
    return open_dataset(folder).recipe["batch_size"] if "dataset.json" in storage.names(folder) else None


@dataclass(frozen=True)
class MeasureBatch:
    """Picklable; called on an actor, it opens the models and returns a function that answers with the batch."""

    recipe: Recipe  # its paths absolute, since an actor has another working directory
    device: str

    def __call__(self) -> Callable[[int], int]:
        opened_as = self.recipe.denoiser.model_copy(update={"compile": None})  # or it is compiled for sizes of no use
        models = Models.of(self.recipe.model_copy(update={"denoiser": opened_as}), self.device)
        settings = self.recipe.generate
        return lambda _: largest_batch(models, settings, self.device)


def largest_batch(models: Models, settings: GenerateSection, device: str) -> int:
    """Images that fit into the device's free memory while they are sampled and labelled, a unit at most."""
    if device == "cpu":
        return even(_CPU, settings.unit_size)
    _peak(models, settings, 1)  # what libraries allocate at their first call
    one, three = _peak(models, settings, 1), _peak(models, settings, 3)
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_allocated()
    return even(batch_for(one, three, _SHARE * free, settings.unit_size), settings.unit_size)


def batch_for(one: float, three: float, room: float, most: int) -> int:
    """The batch whose peak, on the line through those of one and of three images, is within `room`; all in bytes.

    Raises RuntimeError where not even one image fits.
    """
    if one > room:
        raise RuntimeError(
            f"an image takes {one / 2**30:.1f} GiB, {socket.gethostname()} has {room / 2**30:.1f} GiB for it"
        )
    each = max((three - one) / 2, 1.0)
    return min(most, 1 + int((room - one) / each))


def even(most: int, unit_size: int) -> int:
    """The smallest batch that cuts a unit into no more batches than `most` does, so that none is nearly empty."""
    return -(-unit_size // -(-unit_size // most))


def _peak(models: Models, settings: GenerateSection, batch_size: int) -> float:
    """Bytes on the GPU, the models' included."""
    torch.cuda.reset_peak_memory_stats()
    made = sample(
        models.denoiser,
        range(batch_size),
        run_seed=settings.run_seed,
        solver=settings.solver,
        steps=settings.steps,
        batch_size=batch_size,
    )
    for images in made:
        models.interpreter.predict(images)
    return torch.cuda.max_memory_allocated()

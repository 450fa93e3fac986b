"""A recipe's dataset: planned by the driver, and made unit by unit wherever its models are opened.

`make = build(planned(recipe))` needs no Ray: `make(0)` makes unit 0 in this process. `planned` needs no torch, so what
makes units is imported when `build` is called.
"""

import gc
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pipelines.dataset.inventory import Inventory, take_inventory
from pipelines.dataset.manifest import Dataset, claim, claimed
from pipelines.dataset.photographs import must_remember, remember
from pipelines.dataset.reports import Report
from pipelines.files.storage import Location
from pipelines.folders import dataset_folder, photographs_folder
from pipelines.recipe import Recipe
from pipelines.units.identity import Identity, describe, identify

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is to be made, and where; it travels to the actors."""

    folder: Location  # of the dataset
    recipe: Recipe  # its paths absolute, since an actor has another working directory
    dataset: Dataset


def planned(recipe: Recipe, inventory: Inventory | None = None) -> Plan:
    """Look at the models' files, and claim the dataset's folder for what they make.

    Of photographs, those that are new are read. Raises DatasetError when the folder is another dataset's or a larger
    one's, ImageError for photographs that cannot be read, and what `identify` raises.
    """
    models = identify(recipe)
    if recipe.generate.source.images == "photographs":
        recipe = _with_photographs(recipe, models)
    plan = Plan(dataset_folder(recipe), recipe, describe(models, recipe.generate))
    claim(plan.folder, plan.dataset, inventory)
    return plan


def _with_photographs(recipe: Recipe, models: Identity) -> Recipe:
    """The recipe with as many samples as there are photographs; its dataset's folder remembers them.

    Raises ImageError where a dataset that has grown would lose a photograph, which is there no more, of its last unit:
    that unit is made again with those that have come.
    """
    folder, settings, source = dataset_folder(recipe), recipe.generate, photographs_folder(recipe)
    stored = claimed(folder, describe(models, settings))  # before any photograph is read
    if stored:
        must_remember(folder, stored.samples)
    photographs = remember(folder, source, settings.source.photographs)
    if stored and stored.samples < len(photographs) and stored.units:
        last = stored.units[-1]
        if len(stored.seeds(last)) < settings.unit_size and last in take_inventory(folder).committed:
            for seed in stored.seeds(last):
                photographs[seed].content(source)
    return recipe.model_copy(update={"generate": settings.changed(samples=len(photographs))})


def build(plan: Plan, device: str | None = None) -> Callable[[int], Report]:
    """Open the models; the function that is returned makes a unit, commits it and returns its report.

    `device` None is the GPU if there is one. Raises RuntimeError where a GPU is needed and none is shown, and on a
    machine that does not see the plan's folder; DatasetError where these models are not those of the plan.
    """
    from pipelines.units.devices import needed_device
    from pipelines.units.images import image_source
    from pipelines.units.models import Models
    from pipelines.units.unit import make_unit

    models, settings = Models.of(plan.recipe, needed_device(device)), plan.recipe.generate
    if claimed(plan.folder, describe(models.identity, settings)) is None:
        raise RuntimeError(
            f"{socket.gethostname()} does not see the dataset.json that lies in {plan.folder}; "
            "name a folder that all machines share, or a URL"
        )
    source = image_source(models.denoiser, plan.recipe, plan.folder)
    interpreter, dataset = models.interpreter, plan.dataset
    make = partial(
        make_unit, source=source, interpreter=interpreter, settings=settings, dataset=dataset, folder=plan.folder
    )
    return halving(make, settings.batch)


def halving(make: Callable[[int, int], T], batch_size: int) -> Callable[[int], T]:
    """`make(unit, batch_size)` without a batch size: out of memory, it is halved for good and the unit begun anew.

    What is returned raises torch.OutOfMemoryError where there is no room for a single image.
    """
    import torch

    def make_in_room(unit: int) -> T:
        nonlocal batch_size
        while True:
            try:
                return make(unit, batch_size)
            except torch.OutOfMemoryError:
                if batch_size == 1:
                    raise
            batch_size = -(-batch_size // 2)
            gc.collect()  # here and not in the handler, whose traceback holds the tensors
            torch.cuda.empty_cache()

    return make_in_room

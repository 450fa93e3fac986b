"""Stage train: every network of a recipe, here or on Ray."""

from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from cluster import connect, train_together
from pipelines.driver.placing import marked, must_see
from pipelines.driver.resources import device_of, resources_of
from pipelines.errors import RecipeError
from pipelines.folders import Source, sources
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record
from pipelines.sections import ClusterSection
from pipelines.training.history import CHECKPOINT, History
from pipelines.training.loop import resumed, train_network
from pipelines.training.plan import Run, runs
from pipelines.units.devices import needed_device


def train(recipe: Recipe, *, only: Source | None = None) -> Outcome:
    """Train one network for each seed and source; those that are there already are left alone."""
    recipe = recipe.resolved()
    wanted: list[Source] = [only] if only else sources(recipe)
    if not wanted:
        raise RecipeError("the recipe has no [generate], so there is no dataset to train on; add that section")
    fresh, seconds = False, 0.0
    records = [(run, Record.of(run.folder, run.inputs)) for run in runs(recipe, wanted)]
    for run, record in records:
        if not record.found() and (run.folder / CHECKPOINT).is_file():
            resumed(run, "cpu")  # before any work, and while the folder's network still counts as made
    for run, record in records:
        if not record.found():
            fresh = True
            with record.making():
                record.results = _train(run, recipe.cluster)
            History.forget(run.folder)
        seconds += record.seconds
    networks = f"{len(records)} DeepLab{recipe.train.network.variant.upper()} networks"
    return Outcome(networks, recipe.paths.out / "deeplab", seconds, fresh)


def _train(run: Run, settings: ClusterSection) -> dict[str, Any]:
    """Train here or, where there are several workers or a cluster, on Ray; returns what the record keeps."""
    workers = run.settings.workers
    if workers == 1 and settings.address == "local":
        train_network(run)
    else:
        with connect(settings.address, log_to_driver=True) as ray, marked(run.folder) as mark:
            resources = resources_of(settings, ray.gpus)
            resources = replace(resources, gpus=ceil(resources.gpus))  # nccl wants a whole one for each
            console.print(
                f"train: Ray at {ray.address}, {workers} workers with {resources.cpus:g} CPUs, {resources.gpus:g} GPUs"
            )
            train_together(
                partial(_train_there, mark, device_of(settings, resources), run),
                workers=workers,
                resources=resources,
                retries=settings.retries,
                storage=run.folder / "ray",
                patience=settings.patience_seconds,
            )
    history = History.read(run.folder, run.inputs)
    assert history is not None, "the training's last step has written it"
    assert history.done == run.optimisation.steps
    return {
        "losses": [round(loss, 4) for loss in history.losses],
        "validation": history.curve.points,
        "best_step": history.curve.best_step,
    }


def _train_there(mark: Path, needed: str, run: Run, rank: int) -> None:
    must_see(mark)
    needed_device(needed)
    train_network(run, rank)

"""Stage train: every network of a recipe, here or on Ray."""

import functools
from dataclasses import replace
from math import ceil, isnan
from pathlib import Path

from cluster import connect, train_together
from pipelines.driver.placing import marked, must_see
from pipelines.driver.resources import device_of, resources_of
from pipelines.errors import RecipeError
from pipelines.folders import Source, networks_folder, sources
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import CHECKPOINT, Outcome, Record, Results, complete, once, part_of
from pipelines.sections.cluster import ClusterSection
from pipelines.training.history import History
from pipelines.training.loop import resumed, train_network
from pipelines.training.plan import Run, runs
from pipelines.units.devices import needed_device

_OUTPUTS = ("config.json", "model.safetensors")


def train(recipe: Recipe, *, only: Source | None = None, partial: bool = False) -> Outcome:
    """Train one network for each seed and source; those that are there already are left alone.

    A dataset of which units are missing is refused, unless `partial`.
    """
    wanted: list[Source] = [only] if only else sources(recipe)
    if not wanted:
        raise RecipeError("the recipe has no [generate], so there is no dataset to train on; add that section")
    planned, outcomes, skipped = runs(recipe, wanted, partial=partial), [], 0
    for run in planned:
        part = part_of(run.folder, run.inputs)
        if not complete(run.folder, run.inputs) and (part / CHECKPOINT).is_file():
            resumed(replace(run, folder=part), "cpu")  # before any work
    for run in planned:
        make = functools.partial(_train, run, recipe.cluster)
        outcomes.append(once(run.folder, run.inputs, make, clause="a network", outputs=_OUTPUTS))
        History.forget(run.folder)
        skipped = max(skipped, Record.read(run.folder).results["skipped_shards"])
    clause = f"{len(planned)} DeepLab{recipe.train.network.variant.upper()} networks"
    if skipped:
        clause += f", {skipped} corrupt shards left out,"
    seconds, fresh = sum(outcome.seconds for outcome in outcomes), any(outcome.fresh for outcome in outcomes)
    return Outcome(clause, networks_folder(recipe), seconds, fresh)


def _train(run: Run, settings: ClusterSection, folder: Path) -> Results:
    """Train here or, where there are several workers or a cluster, on Ray; returns what the record keeps."""
    run = replace(run, folder=folder)
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
                functools.partial(_train_there, mark, device_of(settings, resources), run),
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
        "validation": [(step, None if isnan(iou) else iou) for step, iou in history.curve.points],
        "best_step": history.curve.best_step,
        "skipped_shards": run.data.skipped,
    }


def _train_there(mark: Path, needed: str, run: Run, rank: int) -> None:
    must_see(mark)
    needed_device(needed)
    train_network(run, rank)

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
from pipelines.training.data import ShardData
from pipelines.training.history import CHECKPOINT, History
from pipelines.training.loop import resumed, train_network
from pipelines.training.plan import Job, jobs
from pipelines.units.devices import needed_device


def train(recipe: Recipe, *, only: Source | None = None) -> Outcome:
    """Train one network for each seed and source; those that are there already are left alone."""
    recipe = recipe.resolved()
    wanted: list[Source] = [only] if only else sources(recipe)
    if not wanted:
        raise RecipeError("the recipe has no [generate], so there is no dataset to train on; add that section")
    fresh, seconds, skipped = False, 0.0, 0
    records = [(job, Record.of(job.folder, job.inputs)) for job in jobs(recipe, wanted)]
    for job, record in records:
        if not record.found() and (job.folder / CHECKPOINT).is_file():
            resumed(job, "cpu")  # before any work, and while the folder's network still counts as made
    for job, record in records:
        if not record.found():
            fresh = True
            with record.making():
                record.results = _run(job, recipe.cluster)
            History.forget(job.folder)
        seconds += record.seconds
        skipped = max(skipped, record.results["skipped_shards"])
    networks = len(recipe.train.seeds) * len(wanted)
    what = f"{networks} DeepLab{recipe.train.variant.upper()} networks"
    if skipped:
        what += f", {skipped} corrupt shards left out,"
    return Outcome(what, recipe.paths.out / "deeplab", seconds, fresh)


def _run(job: Job, settings: ClusterSection) -> dict[str, Any]:
    """Train here or, where there are several workers or a cluster, on Ray; returns what the record keeps."""
    workers = job.settings.workers
    if workers == 1 and settings.address == "local":
        train_network(job)
    else:
        with connect(settings.address, log_to_driver=True) as ray, marked(job.folder) as mark:
            resources = resources_of(settings, ray.gpus)
            resources = replace(resources, gpus=ceil(resources.gpus))  # nccl wants a whole one for each
            console.print(
                f"train: Ray at {ray.address}, {workers} workers with {resources.cpus:g} CPUs, {resources.gpus:g} GPUs"
            )
            train_together(
                partial(_train_there, mark, device_of(settings, resources), job),
                workers=workers,
                resources=resources,
                retries=job.settings.worker_retries,
                storage=job.folder / "ray",
                patience=settings.patience_seconds,
            )
    history = History.read(job.folder, job.inputs)
    assert history is not None, "the training's last step has written it"
    assert history.done == job.training.steps
    skipped = len(job.data.skipped) if isinstance(job.data, ShardData) else 0
    return {
        "losses": [round(loss, 4) for loss in history.losses],
        "validation": history.curve.points,
        "best_step": history.curve.best_step,
        "skipped_shards": skipped,
    }


def _train_there(mark: Path, needed: str, job: Job, rank: int) -> None:
    must_see(mark)
    needed_device(needed)
    train_network(job, rank)

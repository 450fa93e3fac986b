"""Stage train: DeepLabV3 on the shards and, to compare, the same network on the annotated images alone.

A training that is killed goes on from its last checkpoint and ends as if nothing had happened: the order of samples,
their augmentation and dropout are functions of (seed, number), so that the number of steps done says all.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import deeplab
from cluster import connect, train_together
from deeplab import Step, Trainee
from label import IGNORE
from pipelines.errors import RecipeError
from pipelines.placing import device_of, marked, must_see, resources_of
from pipelines.progress import console, follow
from pipelines.recipe import Recipe
from pipelines.sections import ClusterSection
from pipelines.stage import Outcome, Record, device
from pipelines.training_data import Batch, Part, ShardData, batched
from pipelines.training_jobs import Job, Source, build, jobs, sources
from pipelines.training_log import CHECKPOINT, Curve, History
from pipelines.worker import needed_device, set_up

_BATCH = 10  # of validation


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
            _resumed(job, "cpu")  # before any work, and while the folder's network still counts as made
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


def train_network(job: Job, rank: int = 0) -> None:
    """Train from the last checkpoint to the end and keep the best network; the work of one worker."""
    workers, where = job.settings.workers, device()
    set_up(where)
    trainee, history = _resumed(job, where)
    batches = training_batches(job, trainee.done, Part(job.settings.batch_size, rank, workers))
    steps = trainee.train(batches)
    if rank != 0:
        for _ in steps:
            pass
        return
    with ExitStack() as stack:
        log = stack.enter_context(history.logging(job.folder, trainee.done))
        for step in _shown(job, steps, trainee.done):
            history.losses.append(step.loss)
            log.step(step, job.settings.batch_size * job.settings.accumulate)
            if step.number % job.checkpoint_every == 0 or step.number == job.training.steps:
                _validate(job, trainee, history.curve)
                log.curve(history.curve)
                history.write(job.folder, job.inputs, trainee)
    network = trainee.network
    assert isinstance(network, deeplab.DeepLab)
    if history.curve.best is not None:
        network.load_state_dict(history.curve.best)
    deeplab.save(network, job.folder)


def _resumed(job: Job, where: str) -> tuple[Trainee, History]:
    """The network where its last checkpoint left it. Raises RecipeError for a checkpoint that is not its own."""
    trainee = Trainee(build(job), job.training, where)
    history = History.read(job.folder, job.inputs) or History.start()
    if history.state:
        try:
            trainee.restore(history.state)
        except ValueError as error:
            raise RecipeError(f"{job.folder}: {error}; remove that folder to train anew") from error
    return trainee, history


def training_batches(job: Job, done: int, part: Part) -> Iterator[Batch]:
    """The part's batches from the step after `done` on."""
    name, start = job.settings.augmentation, done * job.settings.accumulate * part.batch_size
    pairs = job.data.pairs(job.seed, start, part)
    changed = (deeplab.augment(name, *pair, seed=[job.seed, number]) for number, pair in pairs)
    return batched(changed, part.size)


def _shown(job: Job, steps: Iterator[Step], done: int) -> Iterator[Step]:
    samples, left = job.settings.batch_size * job.settings.accumulate, job.training.steps - done

    def note(step: Step) -> str:
        return f"loss {step.loss:.3f}, {samples / step.seconds:.0f} samples/s, {step.waited / step.seconds:.0%} waiting"

    return follow(steps, left, f"train {job.folder.name}", "steps", note=note)


def _validate(job: Job, trainee: Trainee, curve: Curve) -> None:
    found = job.validation
    if found is None:
        return
    starts = range(0, len(found.images), _BATCH)
    batches = ((found.images[i : i + _BATCH], found.masks[i : i + _BATCH]) for i in starts)
    scores = deeplab.evaluate(trainee.network, batches, classes=len(job.names), ignore_index=IGNORE)
    curve.add(trainee.done, scores.mean_iou, trainee.network)

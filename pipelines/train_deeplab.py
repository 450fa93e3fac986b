"""Stage train: DeepLabV3 on the shards and, to compare, the same network on the annotated images alone.

A training that is killed goes on from its last checkpoint and ends as if nothing had happened: the order of samples,
their augmentation and dropout are functions of (seed, number), so that the number of steps done says all.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

import deeplab
from cluster import Resources, connect, train_together
from deeplab import Step, Trainee, Training
from label import IGNORE, Annotations
from pipelines.fit_interpreter import annotated_few, annotations_digest, open_annotations
from pipelines.progress import follow
from pipelines.recipe import Recipe, RecipeError, TrainSection
from pipelines.shards import open_dataset, read_shards
from pipelines.stage import Outcome, Record, device
from pipelines.storage import Location
from pipelines.training_data import AnnotatedData, Batch, Part, ShardData, batched, shard_data
from pipelines.training_log import Curve, History
from pipelines.worker import dataset_folder, open_denoiser

Source = Literal["synthetic", "annotated"]
_BATCH = 10  # of validation
_MOST_CHECKPOINTS = 100  # where an epoch is a step or two
_NOT_OF_THE_RESULT = {"seeds", "baseline", "workers", "worker_retries", "decoded_gib"}


def network_folder(recipe: Recipe, source: Source, seed: int) -> Path:
    return recipe.paths.out / "deeplab" / f"{source}-seed{seed}"


def sources(recipe: Recipe) -> list[Source]:
    """What networks are trained on; none for an interpreter alone."""
    if not recipe.makes_dataset:
        return []
    return ["synthetic", "annotated"] if recipe.train.baseline else ["synthetic"]


@dataclass(frozen=True)
class Job:
    """One training, with all that it reads opened and checked."""

    settings: TrainSection
    seed: int
    folder: Path
    names: list[str]
    data: ShardData | AnnotatedData
    validation: Annotations | None
    training: Training
    checkpoint_every: int  # steps

    @property
    def inputs(self) -> dict[str, Any]:
        """All that the network depends on."""
        found = self.validation and annotations_digest(self.validation)
        settings = self.settings.model_dump(mode="json", exclude=_NOT_OF_THE_RESULT)
        return {"settings": settings, "seed": self.seed, "data": self.data.record, "validation": found}


def train(recipe: Recipe, *, only: Source | None = None) -> Outcome:
    """Train one network for each seed and source; those that are there already are left alone."""
    recipe = recipe.resolved()
    wanted: list[Source] = [only] if only else sources(recipe)
    if not wanted:
        raise RecipeError("the recipe has no [generate], so there is no dataset to train on; add that section")
    fresh, seconds, skipped = False, 0.0, 0
    for job in jobs(recipe, wanted):
        record = Record.of(job.folder, job.inputs)
        if not record.found():
            fresh = True
            with record.making():
                record.results = _run(job)
            History.forget(job.folder)
        seconds += record.seconds
        skipped = max(skipped, record.results["skipped_shards"])
    networks = len(recipe.train.seeds) * len(wanted)
    what = f"{networks} DeepLab{recipe.train.variant.upper()} networks"
    if skipped:
        what += f", {skipped} corrupt shards left out,"
    return Outcome(what, recipe.paths.out / "deeplab", seconds, fresh)


def stored_size(folder: Location) -> tuple[int, int]:
    """Height and width of the dataset's images."""
    first = next(read_shards(folder))
    return first.mask.shape[0], first.mask.shape[1]


def jobs(recipe: Recipe, wanted: list[Source]) -> list[Job]:
    """Every training of the recipe. All that is read is checked here, before the first one starts."""
    settings, data = recipe.train, _data(recipe, wanted)
    names, size = data.names, data.size
    if recipe.classes and recipe.classes.names != names:
        raise RecipeError(_other_classes("[classes]", recipe.classes.names, names))
    validation = recipe.paths.validation and open_annotations(recipe, recipe.paths.validation, size)
    if validation and list(validation.scheme.names) != names:
        raise RecipeError(_other_classes("paths.validation", validation.scheme.names, names))
    seen = settings.batch_size * settings.accumulate  # samples a step
    epoch = max(len(found) for found in data.by_source.values())
    steps = max(1, round(settings.epochs * epoch / seen)) if settings.epochs else settings.steps
    every = settings.checkpoint_every or max(1, round(epoch / seen), steps // _MOST_CHECKPOINTS)
    trainings = []
    for seed in settings.seeds:
        for source, found in data.by_source.items():
            where, training = network_folder(recipe, source, seed), _training(settings, steps, found, seed)
            trainings.append(Job(settings, seed, where, names, found, validation, training, every))
    _build(trainings[0])
    return trainings


@dataclass(frozen=True)
class _Data:
    names: list[str]  # of the classes
    size: tuple[int, int]  # height and width of the images
    by_source: dict[Source, ShardData | AnnotatedData]


def _data(recipe: Recipe, wanted: list[Source]) -> _Data:
    """Open what the networks are trained on. The shards say classes and size; without them the denoiser does."""
    settings, found = recipe.train, {}
    names, size = None, None
    if "synthetic" in wanted:
        folder = dataset_folder(recipe)
        names = open_dataset(folder).names
        found["synthetic"] = shard_data(
            folder,
            keep=settings.keep,
            ignore_above=settings.ignore_above,
            corrupt=settings.corrupt_shards,
            memory=settings.decoded_gib * 2**30,
        )
        size = found["synthetic"].image_size
    if "annotated" in wanted:
        few = annotated_few(recipe, size or open_denoiser(recipe, "cpu").image_shape[1:])
        if names and list(few.scheme.names) != names:
            raise RecipeError(_other_classes("paths.annotated", few.scheme.names, names))
        names, size = list(few.scheme.names), few.masks.shape[1:]
        found["annotated"] = AnnotatedData(few)
    assert names is not None
    assert size is not None
    return _Data(names, (size[0], size[1]), found)


def _other_classes(what: str, came: Any, names: list[str]) -> str:
    return (
        f"{what} has the classes {', '.join(came)}; the shards have {', '.join(names)}: name the recipe's own dataset, "
        "or generate one with these classes"
    )


def _training(settings: TrainSection, steps: int, data: ShardData | AnnotatedData, seed: int) -> Training:
    """A class without a pixel weighs nothing."""
    weights, pixels = None, np.array(data.class_pixels)
    if settings.class_weights == "inverse_sqrt":
        weights = tuple(np.where(pixels > 0, (np.maximum(pixels, 1) / pixels.sum()) ** -0.5, 0.0).tolist())
    return Training(
        steps,
        settings.learning_rate,
        settings.schedule,
        settings.loss,
        weights,
        settings.accumulate,
        settings.ema_decay,
        settings.precision,
        IGNORE,
        seed,
    )


def _build(job: Job) -> deeplab.DeepLab:
    settings = job.settings
    first, second, third = settings.atrous_rates
    try:
        return deeplab.build(
            len(job.names),
            variant=settings.variant,
            encoder=settings.encoder,
            output_stride=settings.output_stride,
            encoder_depth=settings.encoder_depth,
            encoder_weights=settings.encoder_weights,
            decoder_channels=settings.decoder_channels,
            atrous_rates=(first, second, third),
            aspp_dropout=settings.aspp_dropout,
            class_names=job.names,
            seed=job.seed,
        )
    except (ValueError, OSError) as error:
        raise RecipeError(f"train: {error}") from error


def _run(job: Job) -> dict[str, Any]:
    """Train here, or on as many workers as the recipe says; returns what the record keeps."""
    workers = job.settings.workers
    if workers == 1:
        train_network(job)
    else:
        gpus = 1 if device() == "cuda" else 0
        with connect():
            train_together(
                partial(train_network, job),
                workers=workers,
                resources=Resources(cpus=1, gpus=gpus),
                retries=job.settings.worker_retries,
                storage=job.folder / "ray",
            )
    history = History.read(job.folder, job.inputs)
    assert history is not None
    assert history.done == job.training.steps
    skipped = len(job.data.skipped) if isinstance(job.data, ShardData) else 0
    return {
        "losses": [round(loss, 4) for loss in history.losses],
        "validation": history.curve.points,
        "best_step": history.curve.best_step,
        "skipped_shards": skipped,
    }


def train_network(job: Job, rank: int = 0) -> None:
    """Train from the last checkpoint to the end and keep the best network; the work of one worker."""
    workers, where = job.settings.workers, device()
    trainee = Trainee(_build(job), job.training, where)
    history = History.read(job.folder, job.inputs) or History.start()
    if history.state:
        try:
            trainee.restore(history.state)
        except ValueError as error:
            raise RecipeError(f"{job.folder}: {error}; remove that folder to train anew") from error
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

"""Which networks a recipe trains, each with all that it reads opened and checked before the first one starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import deeplab
from deeplab import Training
from label import IGNORE, Annotations
from pipelines.annotated import annotated_few, annotations_digest, open_annotations
from pipelines.dataset.manifest import open_dataset
from pipelines.errors import RecipeError
from pipelines.folders import Source, dataset_folder, network_folder
from pipelines.recipe import Recipe
from pipelines.sections import TrainSection
from pipelines.training.data import AnnotatedData, ShardData, shard_data
from pipelines.units.models import open_denoiser

_MOST_CHECKPOINTS = 100  # where an epoch is a step or two
_NOT_OF_THE_RESULT = {"seeds", "baseline", "workers", "worker_retries", "decoded_gib"}


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
    build(trainings[0])
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


def build(job: Job) -> deeplab.DeepLab:
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

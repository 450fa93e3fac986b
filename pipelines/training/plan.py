"""Which networks a recipe trains, each with all that it reads opened and checked before the first one starts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import deeplab
from deeplab import Optimisation
from label import Annotations
from pipelines.annotated import annotated_few, annotations_digest, open_annotations
from pipelines.dataset.manifest import open_dataset, stored_dataset
from pipelines.errors import DatasetError, RecipeError
from pipelines.files.storage import Location, location
from pipelines.folders import Source, dataset_folder, network_folder
from pipelines.recipe import Recipe
from pipelines.record import sha256_of
from pipelines.sections.train import MixedSource, TrainSection, images_of_batch
from pipelines.training.data import AnnotatedData, ShardData, shard_data
from pipelines.training.mix import Ingredient, Mix
from pipelines.units.models import open_reader

_MOST_CHECKPOINTS = 100  # where an epoch is a step or two
_KEPT_AS = {"synthetic": "dataset", "mixed": "mix", "annotated": "annotated"}  # in a network's record


@dataclass(frozen=True)
class Run:
    """One training, with all that it reads opened and checked."""

    settings: TrainSection
    optimisation: Optimisation  # the recipe's, with the steps that its epochs make
    class_weights: tuple[float, ...] | None
    checkpoint_every: int  # steps
    seed: int
    folder: Path
    names: list[str]  # of the classes
    source: Source
    encoder: str | None  # sha256 of the file that the encoder begins with
    data: Mix
    validation: Annotations | None

    @property
    def name(self) -> str:
        """For people; while it is trained, its folder has another."""
        return f"{self.source}, seed {self.seed}"

    @property
    def inputs(self) -> dict[str, Any]:
        """All that the network depends on."""
        validation = self.validation and annotations_digest(self.validation)
        paths = {_KEPT_AS[self.source]: self.data.digest, "validation": validation}
        encoder = {"encoder_weights": self.encoder} if self.encoder else {}
        return {**self.settings.made_with(self.seed), "paths": paths | encoder}


def runs(recipe: Recipe, wanted: list[Source], *, partial: bool = False) -> list[Run]:
    """Every training of the recipe. All that is read is checked here, before the first one starts.

    A dataset of which units are missing is trained on where `partial` says so.
    """
    settings, opened = recipe.train, _data(recipe, wanted, partial=partial)
    names, size = opened.names, opened.size
    if recipe.classes and recipe.classes.names != names:
        raise RecipeError(_other_classes("[classes]", recipe.classes.names, names))
    validation = recipe.paths.validation and open_annotations(recipe, recipe.paths.validation, size)
    if validation and list(validation.scheme.names) != names:
        raise RecipeError(_other_classes("paths.validation", validation.scheme.names, names))
    file = settings.network.weights_file
    encoder = sha256_of(file) if file else None
    optimisation, every = _lengths(settings, max(len(data) for data in opened.by_source.values()))
    planned = [
        Run(
            settings=settings,
            optimisation=optimisation,
            class_weights=_class_weights(settings, data),
            checkpoint_every=every,
            seed=seed,
            folder=network_folder(recipe, source, seed),
            names=names,
            source=source,
            encoder=encoder,
            data=data,
            validation=validation,
        )
        for seed in settings.seeds
        for source, data in opened.by_source.items()
    ]
    build(planned[0])
    return planned


def build(run: Run) -> deeplab.DeepLab:
    """The run's network as it is before the first step."""
    return deeplab.build(len(run.names), run.settings.network, class_names=run.names, seed=run.seed)


def _lengths(settings: TrainSection, samples: int) -> tuple[Optimisation, int]:
    """With the steps that the epochs make of so many samples; and the steps between checkpoints."""
    seen = settings.batch_size * settings.optimisation.accumulate  # samples a step
    optimisation = settings.optimisation
    if settings.epochs:
        optimisation = replace(optimisation, steps=max(1, round(settings.epochs * samples / seen)))
    every = settings.checkpoint_every or max(1, round(samples / seen), optimisation.steps // _MOST_CHECKPOINTS)
    return optimisation, every


def _class_weights(settings: TrainSection, data: Mix) -> tuple[float, ...] | None:
    """A class without a pixel weighs nothing."""
    if settings.class_weights == "equal":
        return None
    pixels = np.array(data.class_pixels)
    return tuple(np.where(pixels > 0, (np.maximum(pixels, 1) / pixels.sum()) ** -0.5, 0.0).tolist())


@dataclass(frozen=True)
class _Data:
    names: list[str]  # of the classes
    size: tuple[int, int]  # height and width of the images
    by_source: dict[Source, Mix]


def _data(recipe: Recipe, wanted: list[Source], *, partial: bool) -> _Data:
    """Open what the networks are trained on. The shards say classes and size; without them the denoiser does."""
    settings = recipe.train
    mixes: dict[Source, list[MixedSource]] = {source: settings.mixed(source) for source in wanted}
    used = dict.fromkeys(each.source for mix in mixes.values() for each in mix)
    opened: dict[str, ShardData | AnnotatedData] = {}
    names, size = None, None
    for name in used:
        if name == "annotated":
            continue
        folder = _folder(recipe, name)
        data, came = _shards(settings, folder, partial=partial), open_dataset(folder).names
        if (names or came, size or data.image_size) != (came, data.image_size):
            raise RecipeError(_other_images(folder, came, data.image_size, names or came, size))
        opened[name], names, size = data, came, data.image_size
    if "annotated" in used:
        few = annotated_few(recipe, size or open_reader(recipe, "cpu").image_shape[1:])
        if names and list(few.scheme.names) != names:
            raise RecipeError(_other_classes("paths.annotated", few.scheme.names, names))
        names, size = list(few.scheme.names), (few.masks.shape[1], few.masks.shape[2])
        opened["annotated"] = AnnotatedData(few)
    assert names is not None
    assert size is not None
    by_source: dict[Source, Mix] = {source: _mix(settings, mix, opened) for source, mix in mixes.items()}
    return _Data(names, size, by_source)


def _folder(recipe: Recipe, name: str) -> Location:
    """Of a source's shards. Raises DatasetError where train.mix names a folder without a dataset."""
    if name == "synthetic":
        return dataset_folder(recipe)
    folder = location(name)
    if stored_dataset(folder) is None:
        raise DatasetError(f"train.mix names {folder}, which holds no dataset.json; generate a dataset there first")
    return folder


def _shards(settings: TrainSection, folder: Location, *, partial: bool) -> ShardData:
    return shard_data(
        folder,
        keep=settings.keep,
        ignore_above=settings.ignore_above,
        corrupt=settings.corrupt_shards,
        memory=settings.decoded_gib * 2**30,
        partial=partial,
    )


def _mix(settings: TrainSection, mix: Sequence[MixedSource], opened: dict[str, ShardData | AnnotatedData]) -> Mix:
    counts = images_of_batch(mix, settings.batch_size)
    return Mix(
        tuple(
            Ingredient(each.source, opened[each.source], count, each.augmentation or settings.augmentation)
            for each, count in zip(mix, counts, strict=True)
        )
    )


def _other_classes(place: str, came: Sequence[str], names: list[str]) -> str:
    return (
        f"{place} has the classes {', '.join(came)}; the shards have {', '.join(names)}: name the recipe's own "
        "dataset, or generate one with these classes"
    )


def _other_images(
    folder: Location, came: list[str], size: tuple[int, int], names: list[str], wanted: tuple[int, int] | None
) -> str:
    """`came` and `size` are those of the folder, the others those of the sources before it."""
    if came != names:
        return _other_classes(str(folder), came, names)
    assert wanted is not None
    return (
        f"{folder} has images of {size[1]}x{size[0]}, the sources of train.mix before it {wanted[1]}x{wanted[0]}; "
        "mix datasets of one size"
    )

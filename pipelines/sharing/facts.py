"""What is known of a dataset that is given away: from its folder, and from the run that made it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from label import InterpreterError
from label.feature_records import features_record, kinds_in
from label.identity import stored_interpreter
from pipelines.annotated import annotated_few, annotations_digest
from pipelines.dataset.damage import unindexed
from pipelines.dataset.index import candidates
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import Dataset, open_dataset
from pipelines.errors import DatasetError, RecipeError
from pipelines.files.storage import Location
from pipelines.folders import interpreter_folder, scores_folder
from pipelines.recipe import Recipe
from pipelines.record import Record
from pipelines.sharing.croissant import Shard, shards_in
from pipelines.sharing.preview import Choice, chosen_samples


@dataclass(frozen=True)
class Facts:
    """All that nobody has to be asked for; what is not known is None."""

    dataset: Dataset
    shards: list[Shard]
    index: pa.Table  # of all candidates
    size: tuple[int, int]  # height, width
    has_maps: bool  # whether the uncertainty of each pixel is stored
    features: Mapping[str, Any] | None  # what the interpreter reads: kinds, and of the denoiser steps, blocks, source
    annotated: int | None  # images that it was fitted on
    scores: Mapping[str, float] | None  # mIoU on held-out images, by what was scored

    @property
    def kept(self) -> int:
        return int(np.count_nonzero(self.index["kept"].to_numpy()))

    @property
    def class_pixels(self) -> Int[np.ndarray, "kept classes"]:
        """Of every sample that was kept."""
        counts = self.index["class_pixels"].combine_chunks().flatten().to_numpy()
        return counts.reshape(len(self.index), -1)[self.index["kept"].to_numpy()]


def facts_of(folder: Location, recipe: Recipe | None = None) -> Facts:
    """Raises DatasetError where the dataset is not whole.

    Without a recipe, the interpreter and the scores are those beside the dataset's folder; what is not of this very
    dataset is not known.
    """
    dataset, inventory = open_dataset(folder), take_inventory(folder)
    if missing := inventory.missing(dataset.units):
        raise DatasetError(f"{folder} lacks {len(missing)} of its {len(dataset.units)} shards; generate them first")
    if clause := unindexed(inventory, dataset):
        raise DatasetError(f"{folder} is not finished: {clause}")
    (sample,) = chosen_samples(folder, Choice(1))
    height, width = sample.mask.shape
    fitted, scored = _run_folders(folder, recipe)
    return Facts(
        dataset,
        shards_in(inventory),
        candidates(inventory),
        (height, width),
        sample.pixel_uncertainty is not None,
        _features(fitted, dataset) if fitted else None,
        _annotated(recipe, (height, width)) if recipe else None,
        _scores(scored, dataset) if scored else None,
    )


def _run_folders(folder: Location, recipe: Recipe | None) -> tuple[Path | None, Path | None]:
    """Where the interpreter and the scores of its run are, or would be."""
    if recipe:
        return interpreter_folder(recipe), scores_folder(recipe)
    return (folder.parent / "interpreter", folder.parent / "scores") if isinstance(folder, Path) else (None, None)


def _features(folder: Path, dataset: Dataset) -> Mapping[str, Any] | None:
    try:
        if stored_interpreter(folder, dataset.denoiser).digest != dataset.interpreter:
            return None
        return features_record(folder) | {"kinds": list(kinds_in(folder))}
    except (InterpreterError, KeyError):  # none is there, or one of another kind
        return None


def _annotated(recipe: Recipe, size: tuple[int, int]) -> int | None:
    """How many there are, if they are those that the interpreter was fitted on."""
    if recipe.paths.annotated is None:
        return None
    few = annotated_few(recipe, size)
    try:
        known = Record.read(interpreter_folder(recipe)).inputs["paths"]["annotated"]
    except (RecipeError, KeyError):
        return None
    return len(few.names) if annotations_digest(few) == known else None


def _scores(folder: Path, dataset: Dataset) -> Mapping[str, float] | None:
    """Means over runs, as `evaluate` measured them with the interpreter of this dataset."""
    try:
        record = Record.read(folder)
    except RecipeError:
        return None
    if record.inputs.get("interpreter") != dataset.interpreter:
        return None
    known = {source: [run["mean_iou"] for run in runs] for source, runs in record.results.items()}
    return {source: fmean(runs) for source, runs in known.items() if runs and None not in runs}

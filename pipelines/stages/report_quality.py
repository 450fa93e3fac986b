"""The part of stage report that looks at the dataset itself; it needs no network, and is made before any is trained."""

from functools import partial
from pathlib import Path

from label import Annotations, FeatureSource
from label.source_kinds import DENOISER
from label.threads import torch_threads
from pipelines.annotated import annotated_few
from pipelines.dataset.index import says_nearest, write_nearest
from pipelines.dataset.manifest import Dataset
from pipelines.dataset.reports import Report
from pipelines.errors import DatasetError, LeaseError, StorageError
from pipelines.files.lease import leased
from pipelines.folders import dataset_folder, quality_folder
from pipelines.progress import console
from pipelines.quality.findings import NEAR, Quality
from pipelines.quality.image_sets import MOST, MOST_SHARDS, ImageSet, real_sets, sample_set
from pipelines.quality.looking import NEAREST, QUALITY, look, read_nearest, read_quality
from pipelines.recipe import Recipe
from pipelines.record import Results, once
from pipelines.units.devices import device
from pipelines.units.models import open_features


def dataset_quality(recipe: Recipe, dataset: Dataset, reports: list[Report]) -> Quality:
    """Look at the recipe's dataset, once, and keep in its index what is nearest to each sample."""
    folder = dataset_folder(recipe)
    source = _describing(recipe)
    few = annotated_few(recipe, source.image_size)
    if list(few.scheme.names) != dataset.names:
        raise DatasetError(
            f"paths.annotated has the classes {', '.join(few.scheme.names)}; the dataset in {folder} has "
            f"{', '.join(dataset.names)}: name the annotated images that it was made from"
        )
    samples, real = sample_set(folder, reports), real_sets(recipe, few, source.image_size)
    settings = recipe.interpreter
    inputs = {
        "dataset": dataset.digest,
        "filter": [dataset.recipe.get("filter"), dataset.recipe.get("portion")],
        "shards": [report.sha256 for report in reports],
        "features": [settings.steps[0], settings.blocks, settings.where, recipe.generate.threads],
        "real": {each.name: each.digest for each in real},
        "rule": [NEAR, MOST, MOST_SHARDS],
    }
    make = partial(_look, recipe, reports, source, few, samples, real)
    once(quality_folder(recipe), inputs, make, clause="the dataset looked at", outputs=(QUALITY, NEAREST))
    _index(recipe)
    return read_quality(quality_folder(recipe))


def _describing(recipe: Recipe) -> FeatureSource:
    """What reads paths.denoiser at the first of interpreter.steps, whatever the interpreter reads."""
    plain = {"features": DENOISER, "steps": recipe.interpreter.steps[:1], "noises": 1, "mirrored": False}
    settings = recipe.interpreter.model_copy(update=plain)
    return open_features(recipe.model_copy(update={"interpreter": settings}), device())


def _look(
    recipe: Recipe,
    reports: list[Report],
    source: FeatureSource,
    few: Annotations,
    samples: ImageSet,
    real: list[ImageSet],
    made: Path,
) -> Results:
    with torch_threads(recipe.generate.threads):  # the last bits of sums depend on them
        look(dataset_folder(recipe), reports, source, few, samples, real, made)
    return {}


def _index(recipe: Recipe) -> None:
    """Let the index say what is nearest; where somebody else writes there, or nobody may, that is told."""
    folder = dataset_folder(recipe)
    nearest = read_nearest(quality_folder(recipe))
    if says_nearest(folder, nearest):
        return
    try:
        with leased(folder):
            write_nearest(folder, nearest)
    except (LeaseError, StorageError) as error:
        console.print(f"report: the index of {folder} does not say what is nearest to each sample: {error}")

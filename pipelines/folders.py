"""Where a run puts what it makes: every folder and file name of a recipe's output."""

from pathlib import Path
from typing import Literal

from pipelines.recipe import Recipe
from pipelines.storage import Location, location


def interpreter_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "interpreter"


def dataset_folder(recipe: Recipe) -> Location:
    return location(recipe.paths.dataset or recipe.paths.out / "dataset")


Source = Literal["synthetic", "annotated"]


def sources(recipe: Recipe) -> list[Source]:
    """What networks are trained on; none for an interpreter alone."""
    if not recipe.makes_dataset:
        return []
    return ["synthetic", "annotated"] if recipe.train.baseline else ["synthetic"]


def network_folder(recipe: Recipe, source: Source, seed: int) -> Path:
    return recipe.paths.out / "deeplab" / f"{source}-seed{seed}"


def scores_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "scores"


def report_page(recipe: Recipe) -> Path:
    return recipe.paths.out / "report" / "report.html"

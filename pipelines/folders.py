"""Where a run puts what it makes: every folder and file name of a recipe's output."""

from pathlib import Path
from typing import Literal

from pipelines.recipe import Recipe
from pipelines.storage import Location, location

Source = Literal["synthetic", "annotated"]  # the images that a network is trained on


def sources(recipe: Recipe) -> list[Source]:
    """What networks are trained on; none for an interpreter alone."""
    if not recipe.makes_dataset:
        return []
    return ["synthetic", "annotated"] if recipe.train.baseline else ["synthetic"]


def ddpm_folder(recipe: Recipe) -> Path:
    """Checkpoint and sheets of a diffusion model in training; the model itself goes to paths.denoiser."""
    return recipe.paths.out / "train-ddpm"


def samples_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "samples"


def interpreter_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "interpreter"


def dataset_folder(recipe: Recipe) -> Location:
    return location(recipe.paths.dataset or recipe.paths.out / "dataset")


def corrected_folder(recipe: Recipe) -> Path:
    """Samples of the dataset that were looked at, as a folder of annotated images."""
    return recipe.paths.out / "corrected"


def networks_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "deeplab"


def network_folder(recipe: Recipe, source: Source, seed: int) -> Path:
    return networks_folder(recipe) / f"{source}-seed{seed}"


def scores_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "scores"


def report_page(recipe: Recipe) -> Path:
    """The page; strip.png, a few samples side by side, lies beside it."""
    return recipe.paths.out / "report" / "report.html"


def study_cell(recipe: Recipe, name: str) -> Path:
    """The file of what was measured of a cell."""
    return recipe.paths.out / "study" / "cells" / f"{name}.json"


def study_work(recipe: Recipe, name: str) -> Path:
    """paths.out of the recipes that a study makes of this one."""
    return recipe.paths.out / "study" / "work" / name

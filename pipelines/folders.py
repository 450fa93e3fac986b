"""Where a run puts what it makes: every folder of a recipe's output, and the page."""

from pathlib import Path
from typing import Literal

from pipelines.errors import RecipeError
from pipelines.files.refusals import without_secrets
from pipelines.files.storage import Location, location
from pipelines.recipe import Recipe

Source = Literal["synthetic", "mixed", "annotated"]  # the images that a network is trained on


def sources(recipe: Recipe) -> list[Source]:
    """What networks are trained on, first the one that the recipe is for; none for an interpreter alone."""
    if not recipe.makes_dataset:
        return []
    first: Source = "mixed" if recipe.train.mix else "synthetic"
    return [first, "annotated"] if recipe.train.baseline else [first]


def ddpm_folder(recipe: Recipe) -> Path:
    """Checkpoint and sheets of a diffusion model in training; the model itself goes to paths.denoiser."""
    return recipe.paths.out / "train-ddpm"


def samples_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "samples"


def interpreter_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "interpreter"


def dataset_folder(recipe: Recipe) -> Location:
    """The shards that the recipe makes; of one that makes both kinds, what is painted."""
    if recipe.generate.source.images == "photographs":
        return photographed_folder(recipe)
    return painted_folder(recipe)


def painted_folder(recipe: Recipe) -> Location:
    """The dataset of what the denoiser paints."""
    return place_of(recipe.paths.dataset or recipe.paths.out / "dataset", "paths.dataset")


def place_of(given: str | Path, name: str) -> Location:
    """A path or URL that can be opened here. Raises RecipeError, which calls it by `name`, for any other."""
    try:
        place = location(given)
        if not isinstance(place, Path):
            _ = place.fs  # of a kind that is known, whose package is installed
            if not place.path.strip("/"):
                raise ValueError("it names neither bucket nor folder")
    except (ValueError, ImportError, OSError, RuntimeError, TypeError) as error:
        reason = without_secrets(str(error)).splitlines()[0] if str(error) else type(error).__name__
        raise RecipeError(f"{name}: {without_secrets(str(given))} cannot be opened: {reason}") from error
    return place


def photographed_folder(recipe: Recipe) -> Location:
    """The dataset of labelled photographs."""
    return place_of(recipe.paths.photographed or recipe.paths.out / "photographed", "paths.photographed")


def photographs_folder(recipe: Recipe) -> Path:
    """The photographs themselves. Raises RecipeError where the recipe names none."""
    folder = recipe.paths.photographs or recipe.paths.unlabelled
    if folder is None:
        raise RecipeError("paths.photographs is missing; it names the folder of photographs to label")
    if isinstance(folder, str):
        shown = without_secrets(folder)
        raise RecipeError(f"paths.photographs is missing, and paths.unlabelled is {shown}, a URL; a folder is needed")
    return folder


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


def quality_folder(recipe: Recipe) -> Path:
    """What is found of the recipe's dataset before anybody trains on it."""
    return recipe.paths.out / "quality"


def features_folder(recipe: Recipe) -> Path:
    """What a comparison of features found."""
    return recipe.paths.out / "features"


def feature_cells_folder(recipe: Recipe) -> Path:
    """The files of what was measured of single choices of features, of whatever comparison."""
    return recipe.paths.out / "features-cells"


def study_cell(recipe: Recipe, name: str) -> Path:
    """The file of what was measured of a cell."""
    return recipe.paths.out / "study" / "cells" / f"{name}.json"


def study_work(recipe: Recipe, name: str) -> Path:
    """paths.out of the recipes that a study makes of this one."""
    return recipe.paths.out / "study" / "work" / name

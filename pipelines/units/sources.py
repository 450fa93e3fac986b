"""A recipe's feature source, before it is opened: which it reads, the files of their weights, the size of images."""

from pathlib import Path

from label.feature_records import kinds_in
from label.source_kinds import DENOISER, TIMM, key_of
from pipelines.errors import RecipeError
from pipelines.folders import interpreter_folder
from pipelines.places import RANDOM
from pipelines.recipe import Recipe
from pipelines.units.painter import denoiser_files, shape_of_files
from pipelines.units.weights import local_weights


def named_weights(recipe: Recipe) -> dict[str, Path | str]:
    """What the recipe says of the weights of each source that it reads, the denoiser aside. RecipeError if nothing."""
    kinds = [kind for kind in recipe.interpreter.sources if kind != DENOISER]
    weights = {kind: recipe.paths.weights[kind] for kind in kinds if kind in recipe.paths.weights}
    if lacking := [kind for kind in kinds if kind not in weights and not kind.startswith(TIMM)]:
        key = key_of(lacking[0])
        clause = f'name it in [paths], as weights.{key} = "FILE"'
        raise RecipeError(f"paths.weights: the file of the weights of {lacking[0]} is missing; {clause}")
    if wrong := [kind for kind, place in weights.items() if place == RANDOM and not kind.startswith(TIMM)]:
        raise RecipeError(f"paths.weights.{wrong[0]} is {RANDOM}, which timm's networks alone can be; name a file")
    return weights


def weight_files(recipe: Recipe) -> dict[str, Path]:
    """The files of those weights on this machine, by kind. Raises RecipeError for one that is not there."""
    files: dict[str, Path] = {}
    for kind, place in named_weights(recipe).items():
        if place == RANDOM:
            continue
        files[kind] = local_weights(place, key := f"paths.weights.{key_of(kind)}")
        if not files[kind].is_file():
            raise RecipeError(
                f"{key}, {files[kind]}, is not there; put the weights of {kind} there, or name their file"
            )
    return files


def image_size(recipe: Recipe) -> tuple[int, int]:
    """Height and width at which the recipe's sources read images: interpreter.image_size, or the denoiser's."""
    size = recipe.interpreter.image_size
    if size is None or recipe.interpreter.reads_denoiser:
        return shape_of_files(denoiser_files(recipe)).size
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def must_read_the_same(recipe: Recipe) -> None:
    """Raises RecipeError where the interpreter's folder was fitted on another source than the recipe names."""
    folder, wanted = interpreter_folder(recipe), recipe.interpreter.sources
    if (stored := list(kinds_in(folder))) != wanted:
        raise RecipeError(
            f"the interpreter in {folder} reads {', '.join(stored)}, and interpreter.features is {', '.join(wanted)}; "
            "run `datasetddpm fit` again, or restore the recipe"
        )

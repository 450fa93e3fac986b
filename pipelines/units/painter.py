"""What paints the images of a recipe where paths.denoiser only reads, read from its files. Needs no torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from generate.consistency_files import locate_consistency
from generate.guided_flags import Flags
from generate.identity import DiffusersFiles, StateDict, locate
from generate.shape import shape_of
from pipelines.errors import RecipeError
from pipelines.painter_section import UNUSED, PainterKind
from pipelines.recipe import Recipe
from pipelines.units.weights import local_weights

_LOCATE: dict[PainterKind, Callable[[str | Path, Flags | None], StateDict | DiffusersFiles]] = {
    "denoiser": locate,
    "consistency": lambda source, flags: locate_consistency(source, flags, "consistency"),
    "edm": lambda source, flags: locate_consistency(source, flags, "edm"),
}


def painter_place(recipe: Recipe) -> Path | str:
    """Where its weights are on this machine; a URL's are fetched."""
    assert recipe.paths.painter is not None
    return local_weights(recipe.paths.painter, "paths.painter")


def painter_files(recipe: Recipe) -> StateDict | DiffusersFiles:
    """Raises CheckpointError for files that are missing, damaged or of another kind than painter.kind says."""
    return _LOCATE[recipe.painter.kind](painter_place(recipe), recipe.painter.flags)


def paints_apart(recipe: Recipe) -> bool:
    """Whether images are painted, and by a model of their own."""
    return recipe.paths.painter is not None and recipe.generate.source.images != "photographs"


def keys_of_images(recipe: Recipe) -> set[str]:
    """Keys of [generate] that a painted image depends on."""
    unused = UNUSED[recipe.painter.kind] if recipe.paths.painter is not None else set()
    return {"run_seed", "solver", "steps"} - unused


def denoiser_files(recipe: Recipe) -> StateDict | DiffusersFiles:
    """Of what reads, and where there is no painter, paints. Raises CheckpointError for files that are none."""
    return locate(local_weights(recipe.paths.denoiser), recipe.denoiser.flags)


def painter_identity(recipe: Recipe) -> dict[str, Any] | None:
    """What a dataset says of its painter, None where paths.denoiser paints.

    Raises RecipeError for a painter of other sizes, or with too few timesteps, CheckpointError as painter_files does.
    """
    if not paints_apart(recipe):
        return None
    files = painter_files(recipe)
    (height, width), size = shape_of(files).size, shape_of(denoiser_files(recipe)).size
    if (height, width) != size:
        raise RecipeError(
            f"paths.painter paints images of {width}x{height}, paths.denoiser reads {size[1]}x{size[0]}; name two "
            "models of one size"
        )
    if recipe.painter.kind == "denoiser":
        must_have_steps(recipe, files)
    return {**recipe.painter.said(), "digest": files.digest()}


def must_have_steps(recipe: Recipe, files: StateDict | DiffusersFiles) -> None:
    """Raises RecipeError for solver steps that the schedule of what paints does not have."""
    steps, timesteps = recipe.generate.steps, files.timesteps()
    if steps > timesteps:
        raise RecipeError(f"generate.steps: {steps} solver steps were asked for; 1 to {timesteps} are possible")

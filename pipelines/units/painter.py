"""What paints the images of a recipe where paths.denoiser only reads, read from its files. Needs no torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from generate.consistency_files import locate_consistency
from generate.guided_flags import Flags
from generate.identity import DiffusersFiles, StateDict, locate
from generate.latent_files import LatentFiles, locate_any, locate_latent
from generate.shape import Shape, shape_of
from pipelines.errors import RecipeError
from pipelines.recipe import Recipe
from pipelines.sections.painter import UNUSED, PainterKind
from pipelines.units.weights import local_weights

ModelFiles = StateDict | DiffusersFiles | LatentFiles
_LOCATE: dict[PainterKind, Callable[[str | Path, Flags | None], ModelFiles]] = {
    "denoiser": locate,
    "latent": lambda source, _: locate_latent(source),
    "consistency": lambda source, flags: locate_consistency(source, flags, "consistency"),
    "edm": lambda source, flags: locate_consistency(source, flags, "edm"),
}


def painter_place(recipe: Recipe) -> Path:
    """Where its weights are on this machine; a URL's are fetched."""
    assert recipe.paths.painter is not None
    return local_weights(recipe.paths.painter, "paths.painter")


def painter_files(recipe: Recipe) -> ModelFiles:
    """Raises CheckpointError for files that are missing, damaged or of another kind than painter.kind says."""
    return _LOCATE[recipe.painter.kind](painter_place(recipe), recipe.painter.flags)


def paints_apart(recipe: Recipe) -> bool:
    """Whether images are painted, and by a model of their own."""
    return recipe.paths.painter is not None and recipe.generate.source.images != "photographs"


def keys_of_images(recipe: Recipe) -> set[str]:
    """Keys of [generate] that a painted image depends on, as records say them."""
    unused = UNUSED[recipe.painter.kind] if recipe.paths.painter is not None else set()
    return {"run_seed", "solver", "steps", "spacing"} - unused - recipe.generate.unsaid


def denoiser_files(recipe: Recipe) -> ModelFiles:
    """Of what reads, and where there is no painter, paints.

    Raises CheckpointError for files that are none, RecipeError for a latent diffusion model that is to be compiled.
    """
    files = locate_any(local_weights(recipe.paths.denoiser), recipe.denoiser.flags)
    if isinstance(files, LatentFiles) and recipe.denoiser.compile:
        raise RecipeError("denoiser.compile: a latent diffusion model is not compiled; leave it out")
    return files


def must_be_named_as_painter(recipe: Recipe) -> RecipeError:
    """Of a latent diffusion model that only reads, by what the recipe says, where it is to paint."""
    return RecipeError(
        f"paths.denoiser, {recipe.paths.denoiser}, is a latent diffusion model; name it in paths.painter as well, with "
        'painter.kind = "latent", or name another model there'
    )


def painter_identity(recipe: Recipe) -> dict[str, Any] | None:
    """What a dataset says of its painter, None where paths.denoiser paints.

    Raises RecipeError for a painter of other sizes, with too few timesteps or of which something is asked that it does
    not know, CheckpointError as painter_files does.
    """
    if not paints_apart(recipe):
        return None
    files = painter_files(recipe)
    (height, width), size = shape_of_files(files).size, shape_of_files(denoiser_files(recipe)).size
    if (height, width) != size:
        raise RecipeError(
            f"paths.painter paints images of {width}x{height}, paths.denoiser reads {size[1]}x{size[0]}; name two "
            "models of one size"
        )
    if isinstance(files, LatentFiles) and files.reads_words != bool(recipe.painter.prompts):
        does = "from words; name some" if files.reads_words else "without words; leave them out"
        raise RecipeError(f"painter.prompts: paths.painter, {recipe.paths.painter}, paints {does}")
    if recipe.painter.kind in ("denoiser", "latent"):
        must_have_steps(recipe, files)
    if recipe.painter.kind != "denoiser" and recipe.generate.spacing != "even":
        raise RecipeError(f"generate.spacing: a painter of kind {recipe.painter.kind} has its own; leave it out")
    return {**recipe.painter.made_with(), "digest": files.digest()}


def shape_of_files(files: ModelFiles) -> Shape:
    """Raises CheckpointError for a configuration that does not say it."""
    return files.shape() if isinstance(files, LatentFiles) else shape_of(files)


def must_have_steps(recipe: Recipe, files: ModelFiles) -> None:
    """Raises RecipeError for solver steps that the schedule of what paints does not have."""
    steps, timesteps = recipe.generate.steps, files.timesteps()
    if steps > timesteps:
        raise RecipeError(f"generate.steps: {steps} solver steps were asked for; 1 to {timesteps} are possible")

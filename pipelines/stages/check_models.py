"""The models that a recipe names, looked at by their files; needs no torch."""

from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from generate import GenerateError
from generate.guided_flags import TRAINED, parse_flags
from generate.identity import locate
from generate.latent_files import LatentFiles, locate_any
from generate.shape import Shape, shape_of
from label.source_kinds import DENOISER, key_of, package_of
from pipelines.errors import RecipeError
from pipelines.recipe import Recipe
from pipelines.stages.finding import Finding, as_text
from pipelines.units.painter import painter_files, shape_of_files
from pipelines.units.sources import named_weights


def shape_of_denoiser(recipe: Recipe) -> Shape | None:
    """The network's, where its files are on this machine."""
    place = recipe.paths.denoiser
    if not isinstance(place, Path) or not place.exists():
        return None
    try:
        return shape_of_files(locate_any(place, recipe.denoiser.flags))
    except GenerateError:
        return None


def reads_words(recipe: Recipe) -> bool:
    """Whether a model of the recipe is told texts, as far as this machine knows it."""
    if recipe.painter.prompts:
        return True
    place = recipe.paths.denoiser
    if not isinstance(place, Path) or not place.exists():
        return False
    with suppress(GenerateError):
        files = locate_any(place, recipe.denoiser.flags)
        return isinstance(files, LatentFiles) and files.reads_words
    return False


def size_trained(recipe: Recipe) -> int:
    """The side of the images that train-ddpm trains on, as far as this machine knows it."""
    settings = recipe.train_ddpm
    if settings.preset:
        return parse_flags(TRAINED[settings.preset]).image_size
    if isinstance(settings.init, Path) and settings.init.exists():
        with suppress(GenerateError):  # the stage itself says what is wrong with it
            return shape_of(locate(settings.init, settings.init_flags)).size[0]
    return settings.network.size


def of_denoiser(recipe: Recipe) -> Iterator[Finding]:
    """What paints and reads, where paths.painter and interpreter.features say nothing else."""
    place, key = recipe.paths.denoiser, "paths.denoiser"
    if not isinstance(place, Path) or not place.is_absolute():
        yield Finding(key, f"{place}, which is fetched when it is used")
        return
    if not place.exists():
        trained = recipe.paths.unlabelled is not None
        clause = "train-ddpm will write it" if trained else "name a diffusion model, or paths.unlabelled to train one"
        yield Finding(key, f"{place} is not there; {clause}", mark="not yet" if trained else "wrong")
        return
    try:
        shape = shape_of_files(locate_any(place, recipe.denoiser.flags))
    except GenerateError as error:
        yield Finding(key, str(error), mark="wrong")
        return
    yield Finding(
        key, f"images of {as_text(shape.size)} pixels, {shape.blocks} decoder blocks: 0 to {shape.blocks - 1}"
    )
    if DENOISER not in recipe.interpreter.sources:
        return
    if outside := [block for block in recipe.interpreter.blocks if block not in range(shape.blocks)]:
        yield Finding("interpreter.blocks", f"{outside} are not among blocks 0 to {shape.blocks - 1}", mark="wrong")


def of_sources(recipe: Recipe) -> Iterator[Finding]:
    """What reads images beside the denoiser, by the files of its weights."""
    try:
        weights = named_weights(recipe)
    except RecipeError as error:
        yield Finding("interpreter.features", str(error), mark="wrong")
        return
    for kind in recipe.interpreter.sources:
        package, place = package_of(kind), weights.get(kind, "timm's published weights, fetched when they are used")
        if package and find_spec(package) is None:
            yield Finding(kind, f"{package} is not installed; pip install {package}", mark="wrong")
        elif isinstance(place, Path) and not place.is_file():
            yield Finding(f"paths.weights.{key_of(kind)}", f"{place} is not there; put the file there", mark="wrong")
        elif kind != DENOISER:
            yield Finding("interpreter.features", f"{kind}, {place}")


def of_painter(recipe: Recipe, read: Shape | None) -> Iterator[Finding]:
    """What paints apart, and whether the denoiser can read what it paints."""
    place, key = recipe.paths.painter, "paths.painter"
    if place is None:
        return
    if not isinstance(place, Path) or not place.is_absolute():
        yield Finding(key, f"{place}, which is fetched when it is used")
        return
    if not place.exists():
        yield Finding(key, f"{place} is not there; name a model that paints", mark="wrong")
        return
    try:
        size = shape_of_files(painter_files(recipe)).size
    except GenerateError as error:
        yield Finding(key, str(error), mark="wrong")
        return
    fits = read is None or read.size == size
    other = "" if read is None or fits else f", paths.denoiser reads {as_text(read.size)}; name two models of one size"
    yield Finding(
        key, f"{recipe.painter.kind}, images of {as_text(size)} pixels{other}", mark="ok" if fits else "wrong"
    )

"""What a recipe's models are: the part of a dataset's identity that its recipe does not say. Needs no torch."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from generate import CompileMode
from generate.latent_files import LatentFiles
from label import Scheme
from label.identity import stored_interpreter
from pipelines.dataset.manifest import Dataset, lasting
from pipelines.digests import digest_of
from pipelines.errors import RecipeError
from pipelines.folders import interpreter_folder
from pipelines.recipe import Recipe
from pipelines.sections.generate import GenerateSection
from pipelines.sections.painter import UNUSED
from pipelines.units.painter import (
    denoiser_files,
    must_be_named_as_painter,
    must_have_steps,
    painter_identity,
    paints_apart,
    shape_of_files,
)
from pipelines.units.sources import image_size, must_read_the_same, weight_files


@dataclass(frozen=True)
class Identity:
    """Of denoiser, interpreter and painter: with the settings of [generate], all that a sample's bytes depend on."""

    denoiser: str  # digest
    interpreter: str  # digest
    scheme: Scheme
    dtype: str  # of the denoiser's weights: "torch.float32"
    compiled: CompileMode | None
    painter: dict[str, Any] | None = None  # what the dataset says of it; None where the denoiser paints


def identify(recipe: Recipe) -> Identity:
    """What the recipe's models will be once they are opened, read from their files.

    Raises CheckpointError and InterpreterError for files that are missing, damaged, or not made for each other,
    RecipeError for solver steps that the schedule of what paints does not have, and for models of different sizes.
    """
    files = denoiser_files(recipe)
    denoiser = files.digest()
    must_read_the_same(recipe)
    interpreter = stored_interpreter(interpreter_folder(recipe), denoiser, places=weight_files(recipe))
    if not recipe.interpreter.reads_denoiser and (size := image_size(recipe)) != (
        painted := shape_of_files(files).size
    ):
        raise RecipeError(
            f"interpreter.image_size: the interpreter reads images of {size[1]}x{size[0]} pixels, those of "
            f"paths.denoiser are {painted[1]}x{painted[0]}; leave the key out, and fit it again"
        )
    if recipe.generate.source.images != "photographs" and not paints_apart(recipe):
        if isinstance(files, LatentFiles):
            raise must_be_named_as_painter(recipe)
        must_have_steps(recipe, files)
    painter = painter_identity(recipe)
    dtype = f"torch.{recipe.denoiser.dtype}"
    return Identity(denoiser, interpreter.digest, interpreter.scheme, dtype, recipe.denoiser.compile, painter)


def describe(models: Identity, settings: GenerateSection) -> Dataset:
    """The dataset that these models and settings make; its digest covers all that a sample's bytes depend on."""
    computed: dict[str, Any] = {"dtype": models.dtype} | ({"compile": models.compiled} if models.compiled else {})
    if models.painter:
        computed["painter"] = models.painter
    content: dict[str, Any] = {
        "recipe": _made_by(settings, models.painter) | computed,
        "denoiser": models.denoiser,
        "interpreter": models.interpreter,
        "names": list(models.scheme.names),
        "colors": [list(color) for color in models.scheme.colors],
    }
    versions = {package: _version(package) for package in ("torch", "diffusers", "datasetddpm")}
    digest = digest_of(content | {"recipe": lasting(content["recipe"])})
    return Dataset(**content, versions=versions, digest=digest)


def _made_by(settings: GenerateSection, painter: dict[str, Any] | None) -> dict[str, Any]:
    """What of [generate] a dataset's samples come from; `images` and `fit` stand in it where photographs are labelled.

    How many photographs there may be is no part of it: they are the dataset's `samples`.
    """
    if settings.source.images != "photographs":
        unused = UNUSED[painter["kind"]] if painter else set()
        return settings.model_dump(mode="json", exclude={"source"} | unused | settings.unsaid)
    flat = settings.model_dump(mode="json", exclude={"run_seed", "solver", "steps", "spacing"})
    return {key: value for key, value in flat.items() if key != "photographs"}


def _version(package: str) -> str:
    """On a cluster our code may have come as files that nobody installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"

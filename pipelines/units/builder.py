"""What an actor is built from: a recipe's models and its dataset's folder, into a function that makes units."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from generate import spaced_timesteps
from pipelines.dataset.manifest import Dataset, claim, claimed
from pipelines.dataset.reports import Report
from pipelines.errors import RecipeError
from pipelines.folders import dataset_folder
from pipelines.recipe import Recipe, digest_of
from pipelines.sections import GenerateSection
from pipelines.storage import Location
from pipelines.units.devices import needed_device
from pipelines.units.halving import Halving
from pipelines.units.models import Models
from pipelines.units.unit import make_unit


@dataclass(frozen=True)
class Builder:
    """Picklable; called on an actor, it opens the models and returns make(unit)."""

    folder: Location  # of the dataset
    recipe: Recipe  # its paths absolute, since an actor has another working directory
    dataset: Dataset
    device: str | None = None  # the GPU if there is one

    @classmethod
    def of(cls, recipe: Recipe) -> "Builder":
        """Open the models once to know what they make, and claim the dataset's folder for it.

        Raises DatasetError when the folder is another dataset's, RecipeError for solver steps that cannot be.
        """
        recipe = recipe.resolved()
        models, settings = Models.of(recipe, "cpu"), recipe.generate
        try:
            spaced_timesteps(settings.steps, models.denoiser.schedule, settings.solver)
        except ValueError as error:
            raise RecipeError(f"generate.steps: {error}") from error
        folder, dataset = dataset_folder(recipe), describe(models, settings)
        claim(folder, dataset)
        return cls(folder, recipe, dataset)

    def __call__(self) -> Callable[[int], Report]:
        device = needed_device(self.device)
        models, settings = Models.of(self.recipe, device), self.recipe.generate
        self._check_place(describe(models, settings).digest)
        return Halving(
            lambda unit, size: make_unit(unit, models, settings, self.dataset, self.folder, batch_size=size),
            settings.batch,
        )

    def _check_place(self, digest: str) -> None:
        """That the driver's folder is seen, and that these weights are those that it claimed the folder for."""
        if claimed(self.folder, digest) is None:
            raise RuntimeError(
                f"{socket.gethostname()} does not see the dataset.json that lies in {self.folder}; "
                "name a folder that all machines share, or a URL"
            )


def describe(models: Models, settings: GenerateSection) -> Dataset:
    """The dataset that these models and settings make; its digest covers all that a sample's bytes depend on."""
    scheme, computed = models.interpreter.scheme, {"dtype": str(models.denoiser.unet.dtype)}
    if models.denoiser.compiled:
        computed["compile"] = models.denoiser.compiled
    what = {
        "recipe": settings.model_dump(mode="json") | computed,
        "denoiser": models.denoiser.digest,
        "interpreter": models.interpreter.digest,
        "names": list(scheme.names),
        "colors": [list(color) for color in scheme.colors],
    }
    versions = {package: _version(package) for package in ("torch", "diffusers", "datasetddpm")}
    return Dataset(**what, versions=versions, digest=digest_of(what))


def _version(package: str) -> str:
    """On a cluster our code may have come as files that nobody installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"

"""What an actor does: build the models once, then make units. It needs no Ray: `build(...)(0)` makes unit 0 here."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from generate import Denoiser, sample, spaced_timesteps
from label import FILTERS, DenoiserFeatures, Interpreter, Labels
from label.threads import torch_threads
from pipelines.dataset import Candidate, Dataset, Report, claim, claimed
from pipelines.errors import RecipeError
from pipelines.halving import Halving
from pipelines.recipe import Recipe, digest_of
from pipelines.sections import GenerateSection
from pipelines.shards import Sample, class_pixels, encode, tar_of, write_shard
from pipelines.storage import Location, location
from pipelines.weights import local_weights

_ENCODERS = 4  # threads, beside a GPU: a unit ends when its last batch is encoded, and nothing is sampled meanwhile


def interpreter_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "interpreter"


def dataset_folder(recipe: Recipe) -> Location:
    return location(recipe.paths.dataset or recipe.paths.out / "dataset")


def open_denoiser(recipe: Recipe, device: str) -> Denoiser:
    """The denoiser of the recipe's paths.denoiser and [denoiser]; this process then computes as `set_up` says."""
    settings, source = recipe.denoiser, local_weights(recipe.paths.denoiser)
    set_up(device)
    dtype = getattr(torch, settings.dtype)
    opened = Denoiser.from_pretrained(source, flags=settings.flags, device=device, dtype=dtype)
    if settings.compile:
        opened.compile(settings.compile)
    return opened


def set_up(device: str) -> None:
    """How this process computes on a GPU: float32 products as TF32, and every convolution's sums in one order."""
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.deterministic = True


@dataclass(frozen=True)
class Models:
    """The two that every sample comes from."""

    denoiser: Denoiser
    interpreter: Interpreter

    @classmethod
    def of(cls, recipe: Recipe, device: str) -> "Models":
        opened, folder = open_denoiser(recipe, device), interpreter_folder(recipe)
        features = DenoiserFeatures.from_pretrained(folder, opened)
        return cls(opened, Interpreter.from_pretrained(folder, features, device=device))


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


def needed_device(device: str | None) -> str:
    """The device, or the GPU if there is one. Raises RuntimeError where a GPU is needed and none is shown."""
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise RuntimeError(
            f"{socket.gethostname()} shows this process no CUDA device, though one is needed; "
            'repair its driver, or set cluster.device = "cpu"'
        )
    return device or ("cuda" if found else "cpu")


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


def make_unit(
    unit: int,
    models: Models,
    settings: GenerateSection,
    dataset: Dataset,
    folder: Location,
    *,
    batch_size: int | None = None,
) -> Report:
    """Sample, label, filter and commit one unit; a batch that is not the recipe's is written into its samples."""
    with torch_threads(settings.threads):  # the last bits of sums depend on it, whatever an actor was given
        return _make_unit(unit, models, settings, dataset, folder, batch_size or settings.batch)


def _make_unit(
    unit: int, models: Models, settings: GenerateSection, dataset: Dataset, folder: Location, batch_size: int
) -> Report:
    clock, seeds, scheme = _Clock(), iter(settings.seeds(unit)), dataset.scheme
    made: list[Sample] = []
    encoders = _ENCODERS if models.denoiser.device.type == "cuda" else 1
    with ThreadPoolExecutor(encoders) as encoder:  # images are encoded while the next ones are sampled
        encoded: list[Future[dict[str, bytes]]] = []
        for images in sample(
            models.denoiser,
            settings.seeds(unit),
            run_seed=settings.run_seed,
            solver=settings.solver,
            steps=settings.steps,
            batch_size=batch_size,
        ):
            clock.lap("sample")
            labels = models.interpreter.predict(images)  # of 8-bit images, so that it can be computed again
            labelled = _samples(settings, dataset, list(islice(seeds, len(images))), images, labels, batch_size)
            made += labelled
            encoded += [encoder.submit(encode, each, scheme) for each in labelled]
            clock.lap("label")
    kept = set(FILTERS[settings.filter](torch.tensor([s.uncertainty for s in made]), settings.portion).tolist())
    tar = tar_of({each.seed: encoded[i].result() for i, each in enumerate(made) if i in kept})
    candidates = [Candidate(s.seed, i in kept, s.uncertainty, class_pixels(s.mask, scheme)) for i, s in enumerate(made)]
    clock.lap("encode")
    other = None if batch_size == settings.batch else batch_size
    return write_shard(folder, unit, dataset.digest, tar, candidates, clock.seconds, batch_size=other)


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def _samples(
    settings: GenerateSection,
    dataset: Dataset,
    seeds: list[int],
    images: UInt8[np.ndarray, "b h w 3"],
    labels: Labels,
    batch_size: int,
) -> list[Sample]:
    provenance: dict[str, Any] = {"solver": settings.solver, "steps": settings.steps, "dataset": dataset.digest}
    if batch_size != settings.batch:
        provenance["batch_size"] = batch_size
    doubts = labels.pixel_uncertainty if settings.uncertainty_maps else [None] * len(images)
    return [
        Sample(seed, image, mask, float(uncertainty), provenance, doubt)
        for seed, image, mask, uncertainty, doubt in zip(
            seeds, images, labels.masks, labels.uncertainty, doubts, strict=True
        )
    ]

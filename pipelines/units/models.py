"""A recipe's denoiser, feature source and interpreter, opened."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from generate import Denoiser, LatentModel
from generate.latent_files import LatentFiles
from label import DenoiserFeatures, FeatureSource, Interpreter, JointFeatures, LatentFeatures, MirroredFeatures
from label.saved_sources import open_backbone
from label.saved_sources import open_features as open_saved
from label.source_kinds import DENOISER
from pipelines.errors import RecipeError
from pipelines.folders import interpreter_folder
from pipelines.places import RANDOM
from pipelines.recipe import Recipe
from pipelines.units.devices import set_up
from pipelines.units.identity import Identity
from pipelines.units.painter import denoiser_files, painter_identity
from pipelines.units.sources import image_size, must_read_the_same, named_weights, weight_files
from pipelines.units.weights import local_weights


def open_denoiser(recipe: Recipe, device: str) -> Denoiser:
    """The denoiser of the recipe's paths.denoiser and [denoiser]; this process then computes as `set_up` says."""
    settings, source = recipe.denoiser, local_weights(recipe.paths.denoiser)
    set_up(device)
    dtype = getattr(torch, settings.dtype)
    denoiser = Denoiser.from_pretrained(source, flags=settings.flags, device=device, dtype=dtype)
    if settings.compile:
        denoiser.compile(settings.compile)
    return denoiser


def open_reader(recipe: Recipe, device: str) -> Denoiser | LatentModel:
    """What reads images: paths.denoiser, of either kind."""
    files = denoiser_files(recipe)
    if not isinstance(files, LatentFiles):
        return open_denoiser(recipe, device)
    set_up(device)
    source = local_weights(recipe.paths.denoiser)
    return LatentModel.from_pretrained(source, device=device, dtype=getattr(torch, recipe.denoiser.dtype))


def open_features(recipe: Recipe, device: str) -> FeatureSource:
    """What [interpreter] says an image is read by; this process then computes as `set_up` says.

    Several sources come with the scales 1; `fit` scales them by the annotated images. Raises RecipeError and
    InterpreterError for weights that are missing, or another network's.
    """
    set_up(device)
    files, mirrored = weight_files(recipe), recipe.interpreter.mirrored
    sources = [_source(recipe, kind, files, device) for kind in recipe.interpreter.sources]
    sources = [MirroredFeatures(source) for source in sources] if mirrored else sources
    return sources[0] if len(sources) == 1 else JointFeatures(sources)


def _source(recipe: Recipe, kind: str, files: Mapping[str, Path], device: str) -> FeatureSource:
    settings = recipe.interpreter
    if kind == DENOISER:
        return _read_by(recipe, open_reader(recipe, device))
    weights = None if named_weights(recipe).get(kind) == RANDOM else files.get(kind, "hub")
    layers, size = settings.layers.get(kind), image_size(recipe)
    return open_backbone(kind, weights=weights, layers=layers, image_size=size, heads=settings.mae_heads).to(device)


def _read_by(recipe: Recipe, model: Denoiser | LatentModel) -> FeatureSource:
    settings, prompt = recipe.interpreter, recipe.denoiser.prompt
    chosen = {"steps": settings.steps, "blocks": settings.blocks, "where": settings.where}
    if isinstance(model, LatentModel):
        if settings.noises > 1:
            raise RecipeError("interpreter.noises: a latent diffusion model reads with one noise; leave it out")
        return LatentFeatures(model, **chosen, prompt=prompt)
    if prompt:
        raise RecipeError(f"denoiser.prompt: paths.denoiser, {recipe.paths.denoiser}, reads no words; leave it out")
    return DenoiserFeatures(model, **chosen, noises=settings.noises)


def open_interpreter(recipe: Recipe, device: str, denoiser: Denoiser | LatentModel | None = None) -> Interpreter:
    """The interpreter that `fit` made, with its feature source; the denoiser is opened where that reads it.

    Raises RecipeError where it reads another source than the recipe says, InterpreterError for a folder without it.
    """
    must_read_the_same(recipe)
    set_up(device)
    if denoiser is None and DENOISER in recipe.interpreter.sources:
        denoiser = open_reader(recipe, device)
    folder = interpreter_folder(recipe)
    features = open_saved(folder, device, denoiser=denoiser, places=weight_files(recipe))
    return Interpreter.from_pretrained(folder, features, device=device)


@dataclass(frozen=True)
class Models:
    """What every sample is labelled by, and what the dataset says of a painter, which is opened apart."""

    denoiser: Denoiser | LatentModel
    interpreter: Interpreter
    painter: dict[str, Any] | None = None

    @classmethod
    def of(cls, recipe: Recipe, device: str) -> "Models":
        denoiser = open_reader(recipe, device)
        return cls(denoiser, open_interpreter(recipe, device, denoiser), painter_identity(recipe))

    @property
    def identity(self) -> Identity:
        """As `identify` reads it from the files."""
        dtype, compiled = str(self.denoiser.unet.dtype), self.denoiser.compiled
        interpreter, scheme = self.interpreter.digest, self.interpreter.scheme
        return Identity(self.denoiser.digest, interpreter, scheme, dtype, compiled, self.painter)

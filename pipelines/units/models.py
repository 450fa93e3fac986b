"""A recipe's denoiser and interpreter, opened."""

from dataclasses import dataclass
from typing import Any

import torch

from generate import Denoiser, LatentModel
from generate.latent_files import LatentFiles
from label import DenoiserFeatures, Interpreter, LatentFeatures
from pipelines.errors import RecipeError
from pipelines.folders import interpreter_folder
from pipelines.recipe import Recipe
from pipelines.units.devices import set_up
from pipelines.units.identity import Identity
from pipelines.units.painter import denoiser_files, painter_identity
from pipelines.units.weights import local_weights

Features = DenoiserFeatures | LatentFeatures
"""What reads for a recipe."""


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


def open_features(recipe: Recipe, device: str) -> Features:
    """The features as the recipe wants them.

    Raises RecipeError for a prompt where no words are read.
    """
    model, settings, prompt = open_reader(recipe, device), recipe.interpreter, recipe.denoiser.prompt
    if isinstance(model, LatentModel):
        return LatentFeatures(model, steps=settings.steps, blocks=settings.blocks, where=settings.where, prompt=prompt)
    if prompt:
        raise RecipeError(f"denoiser.prompt: paths.denoiser, {recipe.paths.denoiser}, reads no words; leave it out")
    return DenoiserFeatures(model, steps=settings.steps, blocks=settings.blocks, where=settings.where)


@dataclass(frozen=True)
class Models:
    """What every sample is labelled by, and what the dataset says of a painter, which is opened apart."""

    denoiser: Denoiser | LatentModel
    interpreter: Interpreter
    painter: dict[str, Any] | None = None

    @classmethod
    def of(cls, recipe: Recipe, device: str) -> "Models":
        denoiser, folder = open_reader(recipe, device), interpreter_folder(recipe)
        features = (
            LatentFeatures.from_pretrained(folder, denoiser)
            if isinstance(denoiser, LatentModel)
            else DenoiserFeatures.from_pretrained(folder, denoiser)
        )
        interpreter = Interpreter.from_pretrained(folder, features, device=device)
        return cls(denoiser, interpreter, painter_identity(recipe))

    @property
    def identity(self) -> Identity:
        """As `identify` reads it from the files."""
        dtype, compiled = str(self.denoiser.unet.dtype), self.denoiser.compiled
        interpreter, scheme = self.interpreter.digest, self.interpreter.scheme
        return Identity(self.denoiser.digest, interpreter, scheme, dtype, compiled, self.painter)

"""A recipe's denoiser and interpreter, opened."""

from dataclasses import dataclass
from typing import Any

import torch

from generate import Denoiser
from label import DenoiserFeatures, Interpreter
from pipelines.folders import interpreter_folder
from pipelines.recipe import Recipe
from pipelines.units.devices import set_up
from pipelines.units.identity import Identity
from pipelines.units.painter import painter_identity
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


@dataclass(frozen=True)
class Models:
    """What every sample is labelled by, and what the dataset says of a painter, which is opened apart."""

    denoiser: Denoiser
    interpreter: Interpreter
    painter: dict[str, Any] | None = None

    @classmethod
    def of(cls, recipe: Recipe, device: str) -> "Models":
        denoiser, folder = open_denoiser(recipe, device), interpreter_folder(recipe)
        features = DenoiserFeatures.from_pretrained(folder, denoiser)
        interpreter = Interpreter.from_pretrained(folder, features, device=device)
        return cls(denoiser, interpreter, painter_identity(recipe))

    @property
    def identity(self) -> Identity:
        """As `identify` reads it from the files."""
        dtype, compiled = str(self.denoiser.unet.dtype), self.denoiser.compiled
        interpreter, scheme = self.interpreter.digest, self.interpreter.scheme
        return Identity(self.denoiser.digest, interpreter, scheme, dtype, compiled, self.painter)

"""Where the images of a recipe come from. This is the one place that opens what paints."""

import socket
from collections.abc import Callable

import torch

from generate import (
    ConsistencyImages,
    ConsistencyModel,
    Denoiser,
    DenoiserImages,
    EdmImages,
    EdmModel,
    FolderImages,
    ImageSource,
    LatentImages,
    LatentModel,
    Prompts,
)
from pipelines.dataset.photographs import remembered
from pipelines.files.storage import Location
from pipelines.folders import photographs_folder
from pipelines.recipe import Recipe
from pipelines.sections.generate import GenerateSection
from pipelines.sections.painter import PainterKind
from pipelines.units.devices import set_up
from pipelines.units.models import open_denoiser, open_reader
from pipelines.units.painter import must_be_named_as_painter, painter_place
from pipelines.units.weights import local_weights

Reader = Denoiser | LatentModel


def denoiser_images(denoiser: Denoiser, settings: GenerateSection) -> DenoiserImages:
    """What the denoiser paints with a recipe's solver and steps, as they are spaced."""
    return DenoiserImages(denoiser, settings.solver, settings.steps, settings.spacing)


def _same_as_reader(recipe: Recipe, reader: Reader | None) -> Reader | None:
    """The reader, where it is open and what paints lies in the same place: its weights are held once."""
    settings, place = recipe.denoiser, local_weights(recipe.paths.denoiser)
    is_same = painter_place(recipe).resolve() == place.resolve() and recipe.painter.flags == settings.flags
    return reader if is_same else None


def _denoiser(recipe: Recipe, device: str, reader: Reader | None) -> DenoiserImages:
    if isinstance(same := _same_as_reader(recipe, reader), Denoiser):
        return denoiser_images(same, recipe.generate)
    apart = recipe.denoiser.model_copy(update={"flags": recipe.painter.flags})
    paths = recipe.paths.model_copy(update={"denoiser": painter_place(recipe)})
    denoiser = open_denoiser(recipe.model_copy(update={"denoiser": apart, "paths": paths}), device)
    return denoiser_images(denoiser, recipe.generate)


def _latent(recipe: Recipe, device: str, reader: Reader | None) -> LatentImages:
    settings, dtype = recipe.painter, getattr(torch, recipe.denoiser.dtype)
    model = _same_as_reader(recipe, reader)
    if not isinstance(model, LatentModel):
        model = LatentModel.from_pretrained(painter_place(recipe), device=device, dtype=dtype)
    prompts = Prompts(settings.prompts, settings.choices, recipe.generate.run_seed) if settings.prompts else None
    return LatentImages(
        model,
        prompts,
        guidance=settings.guidance,
        negative_prompt=settings.negative_prompt,
        solver=recipe.generate.solver,
        steps=recipe.generate.steps,
    )


def _consistency(recipe: Recipe, device: str, _: Reader | None) -> ConsistencyImages:
    settings, dtype = recipe.painter, getattr(torch, recipe.denoiser.dtype)
    model = ConsistencyModel.from_pretrained(painter_place(recipe), flags=settings.flags, device=device, dtype=dtype)
    return ConsistencyImages(model, tuple(settings.ts), settings.levels)


def _edm(recipe: Recipe, device: str, _: Reader | None) -> EdmImages:
    settings, dtype = recipe.painter, getattr(torch, recipe.denoiser.dtype)
    model = EdmModel.from_pretrained(painter_place(recipe), flags=settings.flags, device=device, dtype=dtype)
    return EdmImages(model, recipe.generate.steps)


_OPEN: dict[PainterKind, Callable[[Recipe, str, Reader | None], ImageSource]] = {
    "denoiser": _denoiser,
    "latent": _latent,
    "consistency": _consistency,
    "edm": _edm,
}


def painted_images(recipe: Recipe, device: str, denoiser: Reader | None = None) -> ImageSource:
    """What paths.painter paints, as [painter] says, or else paths.denoiser; `denoiser` is the latter, where it is open.

    Raises CheckpointError for a painter that is missing, damaged or of another kind, RecipeError for a latent
    diffusion model in the denoiser's place.
    """
    if recipe.paths.painter is None:
        denoiser = denoiser or open_reader(recipe, device)
        if isinstance(denoiser, LatentModel):
            raise must_be_named_as_painter(recipe)
        return denoiser_images(denoiser, recipe.generate)
    set_up(device)
    return _OPEN[recipe.painter.kind](recipe, device, denoiser)


def image_source(denoiser: Reader, recipe: Recipe, folder: Location) -> ImageSource:
    """Of the dataset in `folder`: what is painted, or the photographs that the dataset remembers.

    Raises RuntimeError on a machine that does not see the photographs, and what painted_images raises.
    """
    settings = recipe.generate
    if settings.source.images != "photographs":
        return painted_images(recipe, denoiser.device.type, denoiser)
    photographs, size = photographs_folder(recipe), denoiser.image_shape[1:]
    if not photographs.is_dir():
        raise RuntimeError(
            f"{socket.gethostname()} does not see the photographs in {photographs}; name a folder that all machines "
            "share in paths.photographs"
        )
    return FolderImages(photographs, remembered(folder), (size[0], size[1]), settings.source.fit)

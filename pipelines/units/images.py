"""Where the images of a recipe's dataset come from."""

import socket

from generate import Denoiser, DenoiserImages, FolderImages, ImageSource
from pipelines.dataset.photographs import remembered
from pipelines.folders import photographs_folder
from pipelines.recipe import Recipe
from pipelines.sections import GenerateSection
from pipelines.storage import Location


def denoiser_images(denoiser: Denoiser, settings: GenerateSection) -> DenoiserImages:
    """What the denoiser paints with a recipe's solver and steps."""
    return DenoiserImages(denoiser, settings.solver, settings.steps)


def image_source(denoiser: Denoiser, recipe: Recipe, folder: Location) -> ImageSource:
    """Of the dataset in `folder`: the denoiser, or the photographs that the dataset remembers.

    Raises RuntimeError on a machine that does not see the photographs.
    """
    settings = recipe.generate
    if settings.source.images != "photographs":
        return denoiser_images(denoiser, settings)
    photographs, size = photographs_folder(recipe), denoiser.image_shape[1:]
    if not photographs.is_dir():
        raise RuntimeError(
            f"{socket.gethostname()} does not see the photographs in {photographs}; name a folder that all machines "
            "share in paths.photographs"
        )
    return FolderImages(photographs, remembered(folder), (size[0], size[1]), settings.source.fit)

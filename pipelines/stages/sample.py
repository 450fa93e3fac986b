"""Stage sample: images of the diffusion model's, for a person to annotate."""

from functools import partial
from pathlib import Path

from PIL import Image

from generate import Denoiser, sample
from pipelines.dataset.shards import png_bytes
from pipelines.folders import samples_folder
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Results, once
from pipelines.standing import say_what_is_unfinished
from pipelines.storage import write_whole
from pipelines.units.devices import device
from pipelines.units.models import open_denoiser

COUNT = 64


def sample_images(recipe: Recipe) -> Outcome:
    """Write 64 samples as PNG files named by seed, none of which the dataset will contain."""
    say_what_is_unfinished(recipe)
    denoiser = open_denoiser(recipe, device())
    settings = recipe.generate.model_dump(mode="json")
    inputs = {"denoiser": denoiser.digest, "generate": settings, "count": COUNT}
    return once(samples_folder(recipe), inputs, partial(_sample, recipe, denoiser), clause=f"{COUNT} images")


def _sample(recipe: Recipe, denoiser: Denoiser, folder: Path) -> Results:
    settings = recipe.generate
    # seeds behind the dataset's, so that what is annotated is never among what is labelled
    seeds = range(settings.samples, settings.samples + COUNT)
    batches = sample(
        denoiser,
        seeds,
        run_seed=settings.run_seed,
        solver=settings.solver,
        steps=settings.steps,
        batch_size=settings.batch,
    )
    images = (image for batch in follow(batches, COUNT, "sample", "images", count=len) for image in batch)
    for seed, image in zip(seeds, images, strict=True):
        write_whole(folder / f"{seed:012d}.png", png_bytes(Image.fromarray(image)))
    return {}

"""Stage sample: images of the diffusion model's, for a person to annotate."""

from PIL import Image

from generate import sample
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record
from pipelines.units.devices import device
from pipelines.units.models import open_denoiser

COUNT = 64


def sample_images(recipe: Recipe) -> Outcome:
    """Write 64 samples as PNG files named by seed, none of which the dataset will contain."""
    denoiser = open_denoiser(recipe, device())
    settings = recipe.generate
    # seeds behind the dataset's, so that what is annotated is never among what is labelled
    seeds = range(settings.samples, settings.samples + COUNT)
    what = {"denoiser": denoiser.digest, "settings": settings.model_dump(mode="json"), "count": COUNT}
    record = Record.of(recipe.paths.out / "samples", what)
    if record.found():
        return record.outcome(f"{COUNT} images", fresh=False)
    with record.making():
        batches = sample(
            denoiser,
            seeds,
            run_seed=settings.run_seed,
            solver=settings.solver,
            steps=settings.steps,
            batch_size=settings.batch,
        )
        named = iter(seeds)
        for images in follow(batches, COUNT, "sample", "images", count=len):
            for image in images:
                Image.fromarray(image).save(record.folder / f"{next(named):012d}.png")
    return record.outcome(f"{COUNT} images", fresh=True)

"""Stage sample: images of the diffusion model's, for a person to annotate."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from generate import DenoiserImages, ImageError, ImageSource
from generate.images import open_image
from generate.stored import StoredError, stored_tree
from label.pairs import has_mask
from pipelines.dataset.shards import png_bytes
from pipelines.errors import RecipeError
from pipelines.folders import samples_folder
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Results, once
from pipelines.sections import TO_ANNOTATE
from pipelines.standing import say_what_is_unfinished
from pipelines.storage import write_whole
from pipelines.units.devices import device
from pipelines.units.images import painted_images
from pipelines.units.painter import keys_of_images, painter_files

COUNT = 64
WEIGHTS = "weights"  # of a painter: what says its digest in a record, and in the image
PROVENANCE = "datasetddpm"  # the text chunk of a PNG that says what its image was made from, as JSON


def sample_images(recipe: Recipe, *, count: int = COUNT) -> Outcome:
    """Write so many samples as PNG files named by seed, none of which the dataset will contain.

    Raises RecipeError where masks lie beside images that would be others afterwards.
    """
    say_what_is_unfinished(recipe)
    source, folder = painted_images(recipe, device()), samples_folder(recipe)
    seeds = range(TO_ANNOTATE, TO_ANNOTATE + count)
    origin = _origin(recipe, source)
    _keep_annotated({folder / _name(seed): _of_seed(origin, source, seed) for seed in seeds})
    inputs = {**origin, "batch_size": recipe.generate.batch, "count": count}
    return once(folder, inputs, partial(_sample, recipe, source, seeds), clause=f"{count} images")


def _origin(recipe: Recipe, source: ImageSource) -> dict[str, Any]:
    """With the seed, all that decides what an image shows."""
    settings = {"generate": recipe.generate.model_dump(mode="json", include=keys_of_images(recipe))}
    if recipe.paths.painter is not None:
        return {"painter": recipe.painter.said(), WEIGHTS: painter_files(recipe).digest(), **settings}
    assert isinstance(source, DenoiserImages)
    return {"denoiser": source.denoiser.digest, **settings}


def _of_seed(origin: dict[str, Any], source: ImageSource, seed: int) -> dict[str, Any]:
    """What an image says of itself; of one that was painted from words, these as well."""
    said = source.provenance(seed)
    return {**origin, "seed": seed} | {key: said[key] for key in ("prompt",) if key in said}


def _name(seed: int) -> str:
    return f"{seed:012d}.png"


def _sample(recipe: Recipe, source: ImageSource, seeds: range, folder: Path) -> Results:
    settings, origin = recipe.generate, _origin(recipe, source)
    batches = source.images(seeds, settings.run_seed, settings.batch)
    followed = follow(batches, len(seeds), "sample", "images", count=len, folder=folder)
    pixels = (image for batch in followed for image in batch)
    for seed, image in zip(seeds, pixels, strict=True):
        chunk = PngInfo()
        chunk.add_text(PROVENANCE, json.dumps(_of_seed(origin, source, seed), sort_keys=True))
        write_whole(folder / _name(seed), png_bytes(Image.fromarray(image), chunk))
    return {}


def provenance(path: Path) -> dict[str, Any] | None:
    """What a sampled image was made from; None for any other image."""
    try:
        with open_image(path) as image:
            return stored_tree(str(image.info[PROVENANCE]).encode())
    except (ImageError, StoredError, KeyError):
        return None


def _keep_annotated(images: dict[Path, dict[str, Any]]) -> None:
    """Raises RecipeError where an image has a mask and would show something else."""
    lost = [path.name for path, said in images.items() if has_mask(path) and provenance(path) != said]
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        folder = next(iter(images)).parent
        raise RecipeError(
            f"{', '.join(lost[:3])}{more} in {folder} have masks beside them, and would become others by this "
            "model and these settings: move images and masks to paths.annotated, or name another paths.out"
        )

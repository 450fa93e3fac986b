"""Stage sample: images of the diffusion model's, for a person to annotate."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from generate import DenoiserImages, ImageError, ImageSource
from generate.images import open_image
from generate.stored import StoredError, stored_tree
from label.pairs import has_mask
from pipelines.dataset.shards import png_bytes
from pipelines.errors import RecipeError
from pipelines.files.storage import write_whole
from pipelines.folders import samples_folder
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Results, once, recorded
from pipelines.sections.generate import TO_ANNOTATE
from pipelines.stages.choosing import Chooser
from pipelines.stages.made_with import say_what_is_unfinished
from pipelines.units.devices import device
from pipelines.units.images import painted_images
from pipelines.units.painter import keys_of_images, painter_files

COUNT = 64
WEIGHTS = "weights"  # of a painter: what says its digest in a record, and in the image
PROVENANCE = "datasetddpm"  # the text chunk of a PNG that says what its image was made from, as JSON


def sample_images(recipe: Recipe, *, count: int = COUNT, of: int | None = None) -> Outcome:
    """Write so many samples as PNG files named by seed, none of which the dataset will contain.

    With `of` they are chosen among so many: what the interpreter does not know, and what is unlike paths.annotated.
    Raises RecipeError where masks lie beside images whose place others would take.
    """
    if of is not None and of < count:
        raise RecipeError(f"{count} images cannot be chosen among {of}; --of takes a number that is no smaller than -n")
    say_what_is_unfinished(recipe)
    source, folder = painted_images(recipe, device()), samples_folder(recipe)
    chooser = Chooser.of(recipe) if of else None
    origin = _origin(recipe, source)
    inputs = {**origin, "batch_size": recipe.generate.batch, "count": count}
    if chooser:
        inputs |= {"of": of, "choice": chooser.inputs}
    _keep_annotated(folder, inputs)
    clause = f"{count} images" + (f", chosen among {of}" if of else "")
    make = partial(_sample, recipe, source, origin, count, of or count, chooser)
    return once(folder, inputs, make, clause=clause)


def _origin(recipe: Recipe, source: ImageSource) -> dict[str, Any]:
    """With the seed, all that decides what an image shows."""
    settings = {"generate": recipe.generate.model_dump(mode="json", include=keys_of_images(recipe))}
    if recipe.paths.painter is not None:
        return {"painter": recipe.painter.made_with(), WEIGHTS: painter_files(recipe).digest(), **settings}
    assert isinstance(source, DenoiserImages)
    return {"denoiser": source.denoiser.digest, **settings}


def _of_seed(origin: dict[str, Any], source: ImageSource, seed: int) -> dict[str, Any]:
    """What an image says of itself; of one that was painted from words, these as well."""
    said = source.provenance(seed)
    return {**origin, "seed": seed} | {key: said[key] for key in ("prompt",) if key in said}


def _sample(
    recipe: Recipe,
    source: ImageSource,
    origin: dict[str, Any],
    count: int,
    of: int,
    chooser: Chooser | None,
    folder: Path,
) -> Results:
    images = _images(recipe, source, of, folder)
    if chooser:
        candidates = dict(images)
        places = chooser.chosen(candidates.values(), count)
        images = ((TO_ANNOTATE + place, candidates[TO_ANNOTATE + place]) for place in places)
    for seed, image in images:
        chunk = PngInfo()
        chunk.add_text(PROVENANCE, json.dumps(_of_seed(origin, source, seed), sort_keys=True))
        write_whole(folder / f"{seed:012d}.png", png_bytes(Image.fromarray(image), chunk))
    return {}


def _images(
    recipe: Recipe, source: ImageSource, count: int, folder: Path
) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
    """So many samples, each with its seed."""
    settings, seeds = recipe.generate, range(TO_ANNOTATE, TO_ANNOTATE + count)
    batches = source.images(seeds, settings.run_seed, settings.batch)
    followed = follow(batches, count, "sample", "images", count=len, folder=folder)
    return zip(seeds, (image for batch in followed for image in batch), strict=True)


def provenance(path: Path) -> dict[str, Any] | None:
    """What a sampled image was made from; None for any other image."""
    try:
        with open_image(path) as image:
            return stored_tree(str(image.info[PROVENANCE]).encode())
    except (ImageError, StoredError, KeyError):
        return None


def _keep_annotated(folder: Path, inputs: dict[str, Any]) -> None:
    """Raises RecipeError where images have masks, and others would take their place."""
    if not folder.is_dir() or recorded(folder, inputs):
        return
    masked = [path.name for path in sorted(folder.glob("*.png")) if has_mask(path)]
    if masked:
        more = f" and {len(masked) - 3} more" if len(masked) > 3 else ""
        raise RecipeError(
            f"{', '.join(masked[:3])}{more} in {folder} have masks beside them, and the images of this model and these "
            "settings would take their place: move images and masks to paths.annotated, or name another paths.out"
        )

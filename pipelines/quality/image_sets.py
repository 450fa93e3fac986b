"""Sets of images that are compared: a dataset's samples, and the real images that a recipe names.

Of very many, some are looked at: of samples `MOST` of at most `MOST_SHARDS` shards, of a folder `MOST`, in each case
evenly over them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from generate import ImageError, read_image
from generate.frames import FRAMES
from generate.pictures import image_names
from generate.settings import PhotographFit
from generate.train import read_square
from label import Annotations
from pipelines.annotated import annotations_digest, open_annotations
from pipelines.dataset.inventory import shard_path
from pipelines.dataset.reports import Report
from pipelines.dataset.shards import kept_records, pixels
from pipelines.digests import digest_of
from pipelines.errors import DatasetError
from pipelines.files.storage import Location
from pipelines.quality.neighbours import evenly
from pipelines.recipe import Recipe

MOST, MOST_SHARDS = 10_000, 256
Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class ImageSet:
    """Images of one origin, of which those that are looked at have places from 0 on."""

    name: str
    labels: list[str]  # of those that are looked at
    total: int  # how many there are
    digest: str  # of all that they depend on
    load: Callable[[Sequence[int]], Iterator[Picture]]  # those at these places, which rise

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, places: Sequence[int], size: int) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """The images at these places, which rise, so many at a time."""
        several: list[Picture] = []
        for image in self.load(places):
            several.append(image)
            if len(several) == size:
                yield np.stack(several)
                several = []
        if several:
            yield np.stack(several)

    def at(self, places: Sequence[int]) -> dict[int, Picture]:
        """The images at these places, in whatever order."""
        rising = sorted(set(places))
        return dict(zip(rising, self.load(rising), strict=True))


def sample_set(folder: Location, reports: Sequence[Report]) -> ImageSet:
    """The samples that the filter kept. Raises DatasetError where it kept none."""
    kept = [(report.unit, [c.seed for c in report.candidates if c.kept]) for report in reports]
    kept = [(unit, seeds) for unit, seeds in kept if seeds]
    of_some = [kept[place] for place in evenly(len(kept), MOST_SHARDS)]
    rows = [(unit, seed) for unit, seeds in of_some for seed in seeds]
    rows = [rows[place] for place in evenly(len(rows), MOST)]
    if not rows:
        raise DatasetError(f"{folder} holds no sample that the filter kept; there is nothing to look at")
    return samples_at(folder, rows, sum(len(seeds) for _, seeds in kept))


def samples_at(folder: Location, rows: Sequence[tuple[int, int]], total: int) -> ImageSet:
    """Samples by unit and seed, which rise."""
    labels, digest = [f"seed {seed}" for _, seed in rows], digest_of({"rows": rows})
    return ImageSet("samples", labels, total, digest, partial(_sampled, folder, rows))


def _sampled(folder: Location, rows: Sequence[tuple[int, int]], places: Sequence[int]) -> Iterator[Picture]:
    wanted: dict[int, set[int]] = {}
    for place in places:
        wanted.setdefault(rows[place][0], set()).add(rows[place][1])
    for unit, seeds in wanted.items():
        for record in kept_records([shard_path(folder, unit)]):
            if int(record["__key__"]) in seeds:
                yield pixels(record["png"], 3)


def real_sets(recipe: Recipe, few: Annotations, size: tuple[int, int]) -> list[ImageSet]:
    """The annotated few, and the recipe's held-out and training images and photographs at `size`, each folder once.

    Where the dataset itself is of photographs, neither those nor training images are among them. Images at a URL or in
    archives are no set, nor is a folder that is not on this machine.
    """
    paths, sets = recipe.paths, [in_memory("annotated images", few.names, few.images, annotations_digest(few))]
    seen = {paths.annotated}
    if paths.held_out and paths.held_out not in seen and paths.held_out.is_dir():
        held_out = open_annotations(recipe, paths.held_out, size)
        sets.append(in_memory("held-out images", held_out.names, held_out.images, annotations_digest(held_out)))
        seen.add(paths.held_out)
    if recipe.generate.source.images == "photographs":
        return sets
    for name, folder in {"training images": paths.unlabelled, "photographs": paths.photographs}.items():
        if isinstance(folder, Path) and folder not in seen and _holds_images(folder):
            fit = None if name == "training images" and size[0] == size[1] else recipe.generate.source.fit
            sets.append(_of_folder(name, folder, size, fit))
            seen.add(folder)
    return sets


def _holds_images(folder: Path) -> bool:
    try:
        return bool(image_names(folder))
    except ImageError:
        return False


def in_memory(name: str, labels: Sequence[str], images: np.ndarray, digest: str) -> ImageSet:
    chosen = evenly(len(images), MOST)

    def load(places: Sequence[int]) -> Iterator[Picture]:
        yield from (images[chosen[place]] for place in places)

    return ImageSet(name, [labels[place] for place in chosen], len(images), digest, load)


def _of_folder(name: str, folder: Path, size: tuple[int, int], fit: PhotographFit | None) -> ImageSet:
    """Images of any size; without `fit` their central squares, as train-ddpm sees them."""
    paths = image_names(folder)
    chosen = [paths[place] for place in evenly(len(paths), MOST)]

    def load(places: Sequence[int]) -> Iterator[Picture]:
        for place in places:
            path = folder / chosen[place]
            yield read_square(path, size[0]) if fit is None else FRAMES[fit](read_image(path), size)

    digest = digest_of({path: (folder / path).stat().st_size for path in chosen} | {"fit": fit, "size": size})
    return ImageSet(name, chosen, len(paths), digest, load)

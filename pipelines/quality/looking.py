"""All that is found of a dataset, written into a folder: quality.json, nearest.json, and a picture of each finding."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from label import Annotations, FeatureSource
from pipelines.dataset.reports import Report
from pipelines.errors import RecipeError
from pipelines.files.storage import Location, write_whole
from pipelines.quality.classes import Counted
from pipelines.quality.findings import NEAR, Quality, warnings_of
from pipelines.quality.image_sets import ImageSet
from pipelines.quality.measure import (
    breadth,
    compared,
    copies,
    nearest_of_all,
    real_among_themselves,
    searches,
)
from pipelines.quality.pictures import Album
from pipelines.record import read_made

QUALITY, NEAREST = "quality.json", "nearest.json"


def look(
    folder: Location,
    reports: Sequence[Report],
    source: FeatureSource,
    few: Annotations,
    samples: ImageSet,
    real: Sequence[ImageSet],
    made: Path,
) -> None:
    """Look at a dataset's samples, and at the real images that they are compared with, and fill `made`."""
    album = Album()
    counted = Counted.of(reports, few)
    ours, theirs = compared(source, samples, real)
    found = searches(ours, theirs)
    of_each = [copies(ours, search, album) for search in found]
    rare = counted.rare
    quality = Quality(
        samples=len(samples),
        total=samples.total,
        near=NEAR,
        copies=of_each,
        real=real_among_themselves(theirs),
        breadth=breadth(ours, theirs, album),
        classes=counted.shares,
        warnings=[*warnings_of(of_each, len(samples)), *rare.values()],
        rare=counted.pictured(list(rare), folder, album),
    )
    album.write(made)
    seeds = [int(label.removeprefix("seed ")) for label in samples.labels]
    write_whole(made / NEAREST, _json(dict(zip(seeds, nearest_of_all(found), strict=True))))
    write_whole(made / QUALITY, _json(asdict(quality)))


def read_quality(made: Path) -> Quality:
    """Raises RecipeError for a file that is damaged or gone."""
    return read_made(made / QUALITY, Quality, f"remove {made}, and run `datasetddpm report` again")


def read_nearest(made: Path) -> dict[int, tuple[str, float]]:
    """By the seed of a sample that was looked at, what is nearest to it, and how near."""
    path = made / NEAREST
    try:
        return {int(seed): (str(to), float(near)) for seed, (to, near) in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise RecipeError(
            f"{path} cannot be read ({error}); remove {made}, and run `datasetddpm report` again"
        ) from error


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()

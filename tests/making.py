"""Images and datasets for tests: of noise, of given samples, or made of a recipe in this process, unit after unit."""

import hashlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from conftest import wait_for
from forked import Forked
from PIL import Image

from generate.pictures import image_paths
from label import Scheme
from pipelines import Recipe
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import Dataset, claim
from pipelines.dataset.reports import Candidate
from pipelines.dataset.shards import Sample, class_pixels, pack, write_shard
from pipelines.files.storage import Location
from pipelines.record import CHECKPOINT, part_of
from pipelines.training.plan import Run
from pipelines.units.builder import build, planned

_MAKING = """
import sys
from making import made
from pipelines import Recipe

made(Recipe.load(sys.argv[1], tuple(sys.argv[2:])))
"""


def begun(folder: Location, scheme: Scheme, recipe: dict[str, Any] | None = None) -> None:
    """Claim a folder for a dataset of these classes."""
    colors = [list(color) for color in scheme.colors]
    claim(folder, Dataset("digest", list(scheme.names), colors, recipe or {}, "denoiser", "interpreter", {}))


def noise_images(folder: Path, count: int, size: tuple[int, int] = (16, 16)) -> list[Path]:
    """Images of noise, whose size is height and width."""
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
    return image_paths(folder)


def plain(seed: int) -> Sample:
    """A sample of 8x8 pixels, each as bright as the seed says, and all of class 0."""
    return Sample(seed, np.full((8, 8, 3), seed, dtype=np.uint8), np.zeros((8, 8), dtype=np.uint8), 0.1, {})


def commit(
    folder: Location, unit: int, samples: Sequence[Sample], scheme: Scheme, dropped: Sequence[Candidate] = ()
) -> None:
    """Write the shard of samples that were kept, and a report that tells of the dropped ones as well."""
    kept = [Candidate(s.seed, True, s.uncertainty, class_pixels(s.mask, scheme)) for s in samples]
    write_shard(folder, unit, "digest", pack(samples, scheme), [*kept, *dropped], {})


def made(recipe: Recipe) -> Path:
    """The folder of the recipe's dataset, every unit of which that was missing is made in this process."""
    plan = planned(recipe)
    make = build(plan, "cpu")
    for unit in take_inventory(plan.folder).missing(plan.recipe.generate.units):
        make(unit)
    return Path(str(plan.folder))


def killed(recipe: Path, *settings: str, folder: Path) -> None:
    """As `made`, in a process of its own, which is killed when the folder holds the first unit."""
    process = Forked(recipe, *settings, code=_MAKING)
    wait_for(lambda: process.poll() is not None or (folder / "shard-000000.json").exists())
    assert process.kill() == -signal.SIGKILL


def killed_in_training(recipe: Path, *settings: str, run: Run, delays: Sequence[float]) -> None:
    """`datasetddpm train` once for each delay, killed so long after the first checkpoint of that life."""
    checkpoint, kills = part_of(run.folder, run.inputs) / CHECKPOINT, 0
    for delay in delays:
        before = checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0
        process = Forked("train", recipe, *(word for each in settings for word in ("--set", each)))
        while process.poll() is None and not (checkpoint.is_file() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.005)
        time.sleep(delay)
        kills += process.kill() == -signal.SIGKILL
    assert kills >= 1, "at least one kill came before the end"


def shards(folder: Path) -> dict[str, str]:
    """sha256 of each, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tar")}

"""Which samples leave a dataset, and into which split: both said by seed, index and options, before a shard is read."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from pipelines.dataset.inventory import Inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.reports import Report, each_report
from pipelines.dataset.shards import checked_shards
from pipelines.dataset.where import rows_where
from pipelines.errors import DatasetError
from pipelines.files.storage import Location

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Chosen:
    """What leaves one shard."""

    unit: int
    shard: Location
    sha256: str
    seeds: Int[np.ndarray, " n"]
    uncertainty: Float[np.ndarray, " n"]


def choose(inventory: Inventory, where: str | None) -> list[Chosen]:
    """The kept samples that `where` names, by number of unit; shards without any are left out.

    Raises DatasetError for a condition that is none, for damaged shards, and where no sample is left.
    """
    names = open_dataset(inventory.folder).names
    found = [
        _chosen(report, shard, where, names)
        for shard, report in zip(checked_shards(inventory), each_report(inventory), strict=True)
    ]
    if not any(len(chosen.seeds) for chosen in found):
        which = f"no kept sample of which {where!r} is true" if where else "no kept sample"
        raise DatasetError(f"{inventory.folder} holds {which}; there is nothing to export")
    return [chosen for chosen in found if len(chosen.seeds)]


def _chosen(report: Report, shard: Location, where: str | None, names: list[str]) -> Chosen:
    rows = [candidate for candidate in report.candidates if candidate.kept]
    seeds, uncertainty = np.array([c.seed for c in rows], np.int64), np.array([c.uncertainty for c in rows], float)
    if where is not None and rows:
        table = pa.table(
            {
                "shard": [shard.name] * len(rows),
                "seed": seeds,
                "kept": [True] * len(rows),
                "uncertainty": uncertainty,
                "class_pixels": pa.array([c.class_pixels for c in rows], pa.list_(pa.int64())),
            }
        )
        named = rows_where(where, table, names)
        seeds, uncertainty = seeds[named], uncertainty[named]
    return Chosen(report.unit, shard, report.sha256, seeds, uncertainty)


def identity(chosen: Sequence[Chosen]) -> str:
    """A digest of all that is read."""
    digest = hashlib.sha256()
    for unit in chosen:
        digest.update(unit.sha256.encode() + unit.seeds.tobytes())
    return digest.hexdigest()


def parse_split(text: str | None) -> tuple[float, ...]:
    """Shares of train, val and test, as "0.9,0.1". Raises DatasetError for anything else."""
    try:
        shares = tuple(float(share) for share in (text or "1").split(","))
    except ValueError:
        shares = ()
    if not 1 <= len(shares) <= len(SPLITS) or not all(0 < s <= 1 for s in shares) or abs(sum(shares) - 1) > 1e-6:
        raise DatasetError(
            f"--split {text} is no division; give two or three shares that add up to 1, for {', '.join(SPLITS)}, "
            "as 0.9,0.1"
        )
    return shares


def split_of(seed: int, shares: tuple[float, ...]) -> str:
    """By the seed alone: a sample keeps its split when the dataset grows, or is filtered."""
    drawn = int.from_bytes(hashlib.sha256(f"split {seed}".encode()).digest()[:8], "big") / 2**64
    return SPLITS[min(bisect_right(list(accumulate(shares)), drawn), len(shares) - 1)]


def refuse_empty_splits(chosen: Sequence[Chosen], shares: tuple[float, ...]) -> None:
    """Raises DatasetError where a split would hold nothing."""
    seeds = (seed for unit in chosen for seed in unit.seeds.tolist())
    missing = set(SPLITS[: len(shares)])
    for seed in seeds:
        missing.discard(split_of(seed, shares))
        if not missing:
            return
    count = sum(len(unit.seeds) for unit in chosen)
    raise DatasetError(
        f"--split leaves {' and '.join(sorted(missing))} without any of {count} samples; give a larger share, "
        "or more samples"
    )


def ranks(chosen: Sequence[Chosen]) -> list[Int[np.ndarray, " n"]]:
    """Of every shard's samples, from 1, the most uncertain sample of all first."""
    seeds = np.concatenate([unit.seeds for unit in chosen])
    order = np.lexsort((seeds, -np.concatenate([unit.uncertainty for unit in chosen])))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(1, len(order) + 1)
    return np.split(places, np.cumsum([len(unit.seeds) for unit in chosen])[:-1])

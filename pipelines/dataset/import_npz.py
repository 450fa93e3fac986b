"""Import: a published synthetic set becomes shards of our contract, unit by unit."""

import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from label import IGNORE, Scheme, keep_most_certain
from pipelines.dataset.damage import remove_temporaries
from pipelines.dataset.index import indexed, write_index
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import Dataset, claim, claimed
from pipelines.dataset.npz import Npz, open_npz
from pipelines.dataset.reports import Candidate, Report, Totals
from pipelines.dataset.shards import Sample, class_pixels, pack, write_shard
from pipelines.digests import digest_of
from pipelines.errors import DatasetError
from pipelines.files.lease import leased
from pipelines.files.storage import Location
from pipelines.progress import follow
from pipelines.record import Outcome

_CHECKED_ROWS = 50


def import_npz(
    path: Path, out: Location, scheme: Scheme | None, *, portion: float = 0.0, unit_size: int = 250
) -> Outcome:
    """Write the units that `out` lacks; a row is its sample's seed, and `portion` of each unit's rows is dropped.

    Without a scheme the classes are 0 to the highest label, named "class 0" and so on.
    Before a new folder's first shard the whole file is read once.
    Raises DatasetError for a file that is no synthetic set or is damaged, or a label that the scheme lacks.
    """
    start = time.perf_counter()
    if unit_size < 1 or not 0 <= portion < 1:
        raise DatasetError(f"unit size {unit_size}, portion {portion}; at least 1, and at least 0 and less than 1")
    npz = open_npz(path)
    uncertainty = npz.all_uncertainty()
    dataset = _claim(npz, out, scheme, portion, unit_size)
    inventory = take_inventory(out)
    missing = inventory.missing(range(-(-npz.rows // unit_size)))
    total = None if missing else indexed(inventory)
    if total is None:
        with leased(out):
            remove_temporaries(inventory)
            total = _completed(npz, out, dataset, uncertainty, missing)
    content = f"{total.kept} labelled images in {total.shards} shards, {total.dropped} dropped by the filter"
    if scheme is None:
        content += f", with no scheme: {len(dataset.names)} classes, named {dataset.names[0]} to {dataset.names[-1]},"
    return Outcome(content, out, time.perf_counter() - start, fresh=bool(missing))


def _completed(npz: Npz, out: Location, dataset: Dataset, uncertainty: np.ndarray, missing: list[int]) -> Totals:
    reports = _import(npz, out, dataset, uncertainty, missing)
    rows = sum(len(_rows(npz, unit, dataset.recipe["unit_size"])) for unit in missing)
    for _ in follow(reports, rows, "import", "images", count=_candidates):
        pass
    return write_index(take_inventory(out))


def _candidates(report: Report) -> int:
    return len(report.candidates)


def _rows(npz: Npz, unit: int, unit_size: int) -> range:
    return range(unit * unit_size, min((unit + 1) * unit_size, npz.rows))


def _claim(npz: Npz, out: Location, scheme: Scheme | None, portion: float, unit_size: int) -> Dataset:
    """Check the file and claim `out` for it; a folder that is claimed for it already had its file checked."""
    settings = {"portion": portion, "unit_size": unit_size, "uncertainty": npz.uncertainty.dtype.str}
    identity = {"npz": npz.identity, **settings, "scheme": scheme and [scheme.names, scheme.colors]}
    nameless = Dataset(digest_of(identity), [], [], identity, "", "", {"datasetddpm": version("datasetddpm")})
    if stored := claimed(out, nameless):
        return stored
    scheme = _checked(npz, scheme)
    dataset = replace(nameless, names=list(scheme.names), colors=[list(color) for color in scheme.colors])
    return claim(out, dataset)


def _checked(npz: Npz, scheme: Scheme | None) -> Scheme:
    """Read all labels and images, whose CRC-32 is compared where an array ends.

    Without a scheme there are as many classes as the highest label asks for, and at least 2.
    """
    ranges = [_rows(npz, block, _CHECKED_ROWS) for block in range(-(-npz.rows // _CHECKED_ROWS))]
    highest = 1
    masks = follow(npz.blocks(npz.labels, ranges), npz.rows, "check the labels", "images", count=len)
    for rows, block in zip(ranges, masks, strict=True):
        if scheme:
            _refuse_unknown(npz, rows, block, len(scheme))
        highest = max(highest, int(block[block != IGNORE].max(initial=0)))
    for _ in follow(npz.blocks(npz.images, ranges), npz.rows, "check the images", "images", count=len):
        pass
    return scheme or Scheme(tuple(f"class {i}" for i in range(highest + 1)))


def _import(npz: Npz, out: Location, dataset: Dataset, uncertainty: np.ndarray, units: list[int]) -> Iterator[Report]:
    portion, size = dataset.recipe["portion"], dataset.recipe["unit_size"]
    ranges = [_rows(npz, unit, size) for unit in units]
    blocks = zip(units, ranges, npz.blocks(npz.images, ranges), npz.blocks(npz.labels, ranges), strict=True)
    for unit, rows, images, masks in blocks:
        start = time.perf_counter()
        scores = uncertainty[rows.start : rows.stop]
        kept = set(keep_most_certain(torch.from_numpy(scores.astype(np.float64)), portion).tolist())
        provenance = {"dataset": dataset.digest}
        samples = [Sample(rows[i], images[i], masks[i], float(scores[i]), provenance) for i in sorted(kept)]
        candidates = [
            Candidate(row, i in kept, float(scores[i]), class_pixels(masks[i], dataset.scheme))
            for i, row in enumerate(rows)
        ]
        tar = pack(samples, dataset.scheme)
        yield write_shard(out, unit, dataset.digest, tar, candidates, {"encode": time.perf_counter() - start})


def _refuse_unknown(npz: Npz, rows: range, masks: np.ndarray, classes: int) -> None:
    unknown = (masks >= classes) & (masks != IGNORE)
    if unknown.any():
        i = int(unknown.any((1, 2)).argmax())
        raise DatasetError(
            f"{npz.path}: row {rows[i]} has the label {masks[i][unknown[i]][0]}, the scheme has {classes} classes; "
            "name a scheme with all of them, or none"
        )

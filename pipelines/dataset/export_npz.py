"""Export: a dataset of shards as a file of another format."""

import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.dataset.damage import must_be_whole
from pipelines.dataset.index import totals
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import Dataset, open_dataset
from pipelines.dataset.shards import Sample, checked_shards, decode, kept_records
from pipelines.errors import DatasetError
from pipelines.files.storage import Location, writing
from pipelines.files.writable import must_be_writable
from pipelines.progress import follow
from pipelines.record import Outcome


def export(folder: Location, out: Path, format_name: str, *, partial: bool = False) -> Outcome:
    """Write the kept samples of the dataset in `folder` to `out`, in the order of seeds.

    Raises DatasetError for an unknown format, a dataset without samples, or with units missing unless `partial`, or
    images of several sizes.
    """
    if format_name not in FORMATS:
        raise DatasetError(f"the format {format_name!r} is unknown; known: {', '.join(FORMATS)}")
    start, dataset, inventory = time.perf_counter(), open_dataset(folder), take_inventory(folder)
    if not partial:
        must_be_whole(inventory, dataset)
    kept = totals(inventory).kept
    if not kept:
        raise DatasetError(f"{folder} holds no kept sample; there is nothing to export")
    shards = checked_shards(inventory)
    must_be_writable(out.parent)
    with writing(out) as temporary:
        FORMATS[format_name](dataset, shards, temporary, kept)
    return Outcome(f"{kept} labelled images as {format_name}", out, time.perf_counter() - start, fresh=True)


def _write_npz(dataset: Dataset, shards: list[Location], path: Path, kept: int) -> None:
    """A zip takes one member after the other, so the shards are read twice: for the images, then for the labels."""
    uncertainty: list[float] = []

    def image(sample: Sample) -> np.ndarray:
        uncertainty.append(sample.uncertainty)
        return sample.image

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        _write_rows(file, "arr_0", _followed(shards, kept, "images"), image, kept)
        _write_rows(file, "arr_1", _followed(shards, kept, "labels"), lambda sample: sample.mask, kept)
        dtype = np.dtype(dataset.recipe.get("uncertainty", "<f8"))
        with file.open(zipfile.ZipInfo("arr_2.npy"), "w") as member:
            np.lib.format.write_array(member, np.array(uncertainty, dtype), allow_pickle=False)


def _followed(shards: list[Location], kept: int, member: str) -> Iterator[Sample]:
    samples = (decode(record, pixel_uncertainty=False) for record in kept_records(shards))
    return follow(samples, kept, f"export {member}", "images")


def _write_rows(
    file: zipfile.ZipFile, name: str, samples: Iterator[Sample], pick: Callable[[Sample], np.ndarray], kept: int
) -> None:
    shape: tuple[int, ...] = ()
    with file.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        for sample in samples:
            row = pick(sample)
            if not shape:
                shape = row.shape
                header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": (kept, *shape)}
                np.lib.format.write_array_header_1_0(member, header)
            if row.shape != shape:
                raise DatasetError(
                    f"seed {sample.seed} is {row.shape[0]}x{row.shape[1]} pixels, those before it "
                    f"{shape[0]}x{shape[1]}; an npz holds images of one size"
                )
            member.write(row.tobytes())


FORMATS: dict[str, Callable[[Dataset, list[Location], Path, int], None]] = {"npz": _write_npz}

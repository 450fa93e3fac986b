"""Export: a dataset of shards as a file of another format."""

import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.reports import reports
from pipelines.dataset.shards import Sample, read_shards
from pipelines.errors import DatasetError
from pipelines.progress import follow
from pipelines.record import Outcome
from pipelines.storage import writing


def export(folder: Path, out: Path, format_name: str) -> Outcome:
    """Write the kept samples of the dataset in `folder` to `out`, in the order of seeds.

    Raises DatasetError for an unknown format, a dataset without samples, or images of several sizes.
    """
    if format_name not in FORMATS:
        raise DatasetError(f"the format {format_name!r} is unknown; known: {', '.join(FORMATS)}")
    start = time.perf_counter()
    open_dataset(folder)
    kept = sum(report.counts["kept"] for report in reports(folder))
    if not kept:
        raise DatasetError(f"{folder} holds no kept sample; there is nothing to export")
    out.parent.mkdir(parents=True, exist_ok=True)
    with writing(out) as temporary:
        FORMATS[format_name](folder, temporary, kept)
    return Outcome(f"{kept} labelled images as {format_name}", out, time.perf_counter() - start, fresh=True)


def _write_npz(folder: Path, path: Path, kept: int) -> None:
    """A zip takes one member after the other, so the shards are read twice: for the images, then for the labels."""
    doubts: list[float] = []

    def image(sample: Sample) -> np.ndarray:
        doubts.append(sample.uncertainty)
        return sample.image

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        _write_rows(file, "arr_0", _followed(folder, kept, "images"), image, kept)
        _write_rows(file, "arr_1", _followed(folder, kept, "labels"), lambda sample: sample.mask, kept)
        dtype = np.dtype(open_dataset(folder).recipe.get("uncertainty", "<f8"))
        with file.open(zipfile.ZipInfo("arr_2.npy"), "w") as member:
            np.lib.format.write_array(member, np.array(doubts, dtype), allow_pickle=False)


def _followed(folder: Path, kept: int, what: str) -> Iterator[Sample]:
    return follow(read_shards(folder), kept, f"export {what}", "images")


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


FORMATS: dict[str, Callable[[Path, Path, int], None]] = {"npz": _write_npz}

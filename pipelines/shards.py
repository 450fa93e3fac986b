"""The shard contract: write and read it here and nowhere else.

A unit's samples are `shard-000017.tar`; beside it `shard-000017.json` is its report, written last: it is the commit
marker. `dataset.json` says what the whole directory is; a directory of another digest is refused.

Members of a tar, sorted by key (the seed as 12 digits), with nothing in them that depends on time or user:
`<key>.png` image, `<key>.mask.png` class ids (255 = ignore), `<key>.json`, and optionally `<key>.uncertainty.png`,
which holds 255 * uncertainty / ln(classes).
"""

import hashlib
import io
import itertools
import json
import math
import os
import random
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, UInt8
from PIL import Image
from webdataset.compat import WebDataset
from webdataset.filters import shuffle
from webdataset.shardlists import split_by_node

from label import Scheme


class DatasetError(ValueError):
    """A dataset directory that is not what its reader or writer needs."""


@dataclass(frozen=True)
class Sample:
    """One image with its labels."""

    seed: int
    image: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]
    uncertainty: float  # of the image, nats
    provenance: dict[str, Any]  # solver, steps, digests
    pixel_uncertainty: Float[np.ndarray, "h w"] | None = None  # nats


@dataclass(frozen=True)
class Candidate:
    """What is remembered of every seed, dropped ones included."""

    seed: int
    kept: bool
    uncertainty: float
    class_pixels: list[int]


@dataclass(frozen=True)
class Report:
    """A committed shard."""

    unit: int
    digest: str  # of the dataset
    counts: dict[str, int]  # candidates by what became of them: kept, uncertain
    seconds: dict[str, float]  # by phase
    bytes: int
    sha256: str
    candidates: list[Candidate]

    @classmethod
    def read(cls, path: Path) -> "Report":
        try:
            record = json.loads(path.read_text())
            candidates = [Candidate(**c) for c in record.pop("candidates")]
            return cls(**record, candidates=candidates)
        except (ValueError, TypeError, KeyError) as error:
            raise DatasetError(f"{path} is no report of a shard ({error})") from error


@dataclass(frozen=True)
class Dataset:
    """What dataset.json holds."""

    digest: str  # of everything that the samples' bytes depend on
    names: list[str]
    colors: list[list[int]]
    recipe: dict[str, Any]
    denoiser: str  # digest; "" where the samples were imported
    interpreter: str  # digest; "" where the samples were imported
    versions: dict[str, str]

    @property
    def scheme(self) -> Scheme:
        return Scheme(tuple(self.names), tuple((r, g, b) for r, g, b in self.colors))


def shard_path(folder: Path, unit: int) -> Path:
    return folder / f"shard-{unit:06d}.tar"


def claim(folder: Path, dataset: Dataset) -> None:
    """Make `folder` the home of `dataset`. Raises DatasetError when it is another's."""
    path = folder / "dataset.json"
    if path.is_file():
        there = open_dataset(folder)
        if there.digest != dataset.digest:
            raise DatasetError(
                f"{folder} holds a dataset of another recipe or model ({there.digest[:12]}, this one is "
                f"{dataset.digest[:12]}); name another paths.out, or remove that folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(path, (json.dumps(asdict(dataset), indent=2) + "\n").encode())


def open_dataset(folder: Path) -> Dataset:
    """Read dataset.json. Raises DatasetError when the folder holds none."""
    path = folder / "dataset.json"
    if not path.is_file():
        raise DatasetError(f"{folder} holds no dataset.json; generate a dataset there first")
    try:
        return Dataset(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} does not describe a dataset ({error})") from error


def reports(folder: Path) -> list[Report]:
    """The reports of all committed shards, by unit."""
    return [Report.read(path) for path in sorted(folder.glob("shard-*.json"))]


def committed_units(folder: Path) -> set[int]:
    """Units whose report is there; one listing of the folder."""
    return {int(name.stem.removeprefix("shard-")) for name in folder.glob("shard-*.json")}


def write_shard(
    folder: Path, unit: int, digest: str, tar: bytes, candidates: list[Candidate], seconds: dict[str, float]
) -> Report:
    """Commit a unit: tar first, report last, each under a temporary name until it is whole on disk."""
    path = shard_path(folder, unit)
    _write_whole(path, tar)
    kept = sum(c.kept for c in candidates)
    counts = {"kept": kept, "uncertain": len(candidates) - kept}
    report = Report(unit, digest, counts, seconds, len(tar), hashlib.sha256(tar).hexdigest(), candidates)
    _write_whole(path.with_suffix(".json"), (json.dumps(asdict(report)) + "\n").encode())
    return report


def pack(samples: Iterable[Sample], scheme: Scheme) -> bytes:
    """The tar of these samples; the same samples give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in sorted(samples, key=lambda s: s.seed):
            for suffix, content in _members(sample, scheme).items():
                member = tarfile.TarInfo(f"{sample.seed:012d}.{suffix}")
                member.size, member.mode = len(content), 0o644
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _members(sample: Sample, scheme: Scheme) -> dict[str, bytes]:
    record = {
        "seed": sample.seed,
        "uncertainty": sample.uncertainty,
        "class_pixels": class_pixels(sample.mask, scheme),
        **sample.provenance,
    }
    members = {
        "json": json.dumps(record, sort_keys=True).encode(),
        "mask.png": _png(Image.fromarray(sample.mask)),  # grey: many decoders turn a palette into its colours
        "png": _png(Image.fromarray(sample.image)),
    }
    if sample.pixel_uncertainty is not None:
        members["uncertainty.png"] = _png(Image.fromarray(grey_levels(sample.pixel_uncertainty, scheme)))
    return members


def grey_levels(pixel_uncertainty: Float[np.ndarray, "h w"], scheme: Scheme) -> UInt8[np.ndarray, "h w"]:
    """Uncertainty in nats as 255 * uncertainty / ln(classes), rounded."""
    return np.rint(255 * pixel_uncertainty / math.log(len(scheme))).clip(0, 255).astype(np.uint8)


def class_pixels(mask: UInt8[np.ndarray, "h w"], scheme: Scheme) -> list[int]:
    """Pixels of each class; ignored ones are not counted."""
    return np.bincount(mask.ravel(), minlength=256)[: len(scheme)].tolist()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _write_whole(path: Path, content: bytes) -> None:
    """Nobody ever sees a part of it: a temporary file of this process, synced, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_shards(folder: Path) -> Iterator[Sample]:
    """Yield the samples of all committed shards in the order of units and seeds."""
    yield from _read(checked_shards(folder))


def stream(folder: Path, *, seed: int, buffer: int = 2000) -> Iterator[Sample]:
    """Yield samples without end, each epoch in an order of its own: shards shuffled, then samples within a buffer."""
    paths = checked_shards(folder)
    for epoch in itertools.count():
        rng = random.Random(f"{seed}-{epoch}")
        yield from _read(rng.sample(paths, len(paths)), shuffle(buffer, rng=rng, initial=buffer))


def checked_shards(folder: Path) -> list[Path]:
    """The tars of all committed units. Raises DatasetError for one that is not as long as its report says.

    A tar that is cut at a member's border reads without any error, so the length is looked at first.
    """
    paths = []
    for report in reports(folder):
        path = shard_path(folder, report.unit)
        if not path.is_file() or path.stat().st_size != report.bytes:
            raise DatasetError(
                f"{path} is missing or not as long as its report says; delete the report, generate again"
            )
        paths.append(path)
    if not paths:
        raise DatasetError(f"{folder} holds no shards; generate a dataset there first")
    return paths


def _read(paths: list[Path], *stages: Any) -> Iterator[Sample]:
    urls = [str(path) for path in paths]
    dataset = WebDataset(urls, shardshuffle=False, nodesplitter=split_by_node, empty_check=False)
    for record in dataset.compose(*stages):
        yield _sample(record)


def verify(folder: Path) -> list[str]:
    """What is wrong with the shards, one sentence each: every byte is read and compared with the reports."""
    mistakes = []
    for report in reports(folder):
        path = shard_path(folder, report.unit)
        if not path.is_file():
            mistakes.append(f"{path.name} is missing, its report is there")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != report.sha256:
            mistakes.append(f"{path.name} is not what was written: its sha256 differs from the report's")
    return mistakes


def write_index(folder: Path) -> Path:
    """Write index.parquet: one row a candidate, dropped ones included."""
    rows = [{"shard": shard_path(folder, r.unit).name, **asdict(c)} for r in reports(folder) for c in r.candidates]
    path = folder / "index.parquet"
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    _write_whole(path, buffer.getvalue())
    return path


def _sample(record: dict[str, Any]) -> Sample:
    about = json.loads(record["json"])
    seed, uncertainty = about.pop("seed"), about.pop("uncertainty")
    classes = len(about.pop("class_pixels"))
    doubt = None
    if "uncertainty.png" in record:
        doubt = _pixels(record["uncertainty.png"]).astype(np.float32) * (math.log(classes) / 255)
    return Sample(seed, _pixels(record["png"]), _pixels(record["mask.png"]), uncertainty, about, doubt)


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)

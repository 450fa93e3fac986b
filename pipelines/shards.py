"""The shard contract: write and read it here and nowhere else. A folder is a local path, or an fsspec URL as a UPath.

A unit's samples are `shard-000017.tar`; beside it `shard-000017.json` is its report, written last: it is the commit
marker. `dataset.json` says what the whole directory is; a directory of another digest is refused.

Members of a tar, sorted by key (the seed as 12 digits), with nothing in them that depends on time or user:
`<key>.png` image, `<key>.mask.png` class ids (255 = ignore), `<key>.json`, and optionally `<key>.uncertainty.png`,
which holds 255 * uncertainty / ln(classes).
"""

import contextlib
import hashlib
import io
import itertools
import json
import math
import random
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, UInt8
from PIL import Image
from webdataset.filters import shuffle
from webdataset.pipeline import DataPipeline
from webdataset.shardlists import split_by_node
from webdataset.tariterators import group_by_keys, tar_file_expander

from label import Scheme
from pipelines import storage
from pipelines.storage import Location

_INDEX = pa.schema(
    {
        "shard": pa.string(),
        "seed": pa.int64(),
        "kept": pa.bool_(),
        "uncertainty": pa.float64(),
        "class_pixels": pa.list_(pa.int64()),
    }
)


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
    batch_size: int | None = None  # where a GPU had no memory for the recipe's

    @classmethod
    def read(cls, path: Location) -> "Report":
        return cls.parse(storage.read(path).decode(), path)

    @classmethod
    def parse(cls, content: str, path: Location) -> "Report":
        try:
            record = json.loads(content)
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


def shard_path(folder: Location, unit: int) -> Location:
    return folder / f"shard-{unit:06d}.tar"


def claim(folder: Location, dataset: Dataset) -> None:
    """Make `folder` the home of `dataset`; of two that try at once one comes first.

    Raises DatasetError when it is another's, StorageError when nothing can be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if claimed(folder, dataset.digest) is None:
        with contextlib.suppress(FileExistsError):
            storage.write_new(folder / "dataset.json", (json.dumps(asdict(dataset), indent=2) + "\n").encode())
        claimed(folder, dataset.digest)


def claimed(folder: Location, digest: str) -> Dataset | None:
    """The dataset of this digest, None in a folder that is nobody's. Raises DatasetError when it is another's."""
    if "dataset.json" not in storage.names(folder):
        return None
    there = open_dataset(folder)
    if there.digest != digest:
        raise DatasetError(
            f"{folder} holds a dataset of another recipe, model or file ({there.digest[:12]}, this one is "
            f"{digest[:12]}); name another output folder, or remove that one"
        )
    return there


def open_dataset(folder: Location) -> Dataset:
    """Read dataset.json. Raises DatasetError when the folder holds none."""
    path = folder / "dataset.json"
    try:
        return Dataset(**json.loads(storage.read(path)))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetError(f"{folder} holds no dataset.json; generate a dataset there first") from error
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} does not describe a dataset ({error})") from error


def reports(folder: Location) -> list[Report]:
    """The reports of all committed shards, by unit."""
    return list(each_report(folder))


def each_report(folder: Location) -> Iterator[Report]:
    """The same one by one: all reports of a large dataset are gigabytes in memory."""
    paths = [folder / name for name in sorted(storage.names(folder)) if is_report(name)]
    for path, content in zip(paths, storage.read_all(paths), strict=True):
        yield Report.parse(content.decode(), path)


def is_report(name: str) -> bool:
    return name.startswith("shard-") and name.endswith(".json")


def unit_of(name: str) -> int:
    """The unit of a shard or a report, by its file's name."""
    return int(name.partition(".")[0].removeprefix("shard-"))


def committed_units(folder: Location) -> set[int]:
    """Units whose report is there, and the shard it speaks of; one listing of the folder."""
    there = storage.names(folder)
    return {unit_of(name) for name in there if is_report(name) and name.replace(".json", ".tar") in there}


def write_shard(
    folder: Location,
    unit: int,
    digest: str,
    tar: bytes,
    candidates: list[Candidate],
    seconds: dict[str, float],
    *,
    batch_size: int | None = None,
) -> Report:
    """Commit a unit: tar first, report last, each visible only when it is whole.

    Raises StorageError when the storage does not take it.
    """
    path = shard_path(folder, unit)
    storage.write_whole(path, tar)
    kept = sum(c.kept for c in candidates)
    counts = {"kept": kept, "uncertain": len(candidates) - kept}
    sha256 = hashlib.sha256(tar).hexdigest()
    report = Report(unit, digest, counts, seconds, len(tar), sha256, candidates, batch_size)
    storage.write_whole(path.with_suffix(".json"), (json.dumps(asdict(report)) + "\n").encode())
    return report


def pack(samples: Iterable[Sample], scheme: Scheme) -> bytes:
    """The tar of these samples; the same samples give the same bytes."""
    return tar_of({sample.seed: encode(sample, scheme) for sample in samples})


def tar_of(encoded: Mapping[int, Mapping[str, bytes]]) -> bytes:
    """The tar of encoded samples by their seeds."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for seed, members in sorted(encoded.items()):
            for suffix, content in members.items():
                member = tarfile.TarInfo(f"{seed:012d}.{suffix}")
                member.size, member.mode = len(content), 0o644
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def encode(sample: Sample, scheme: Scheme) -> dict[str, bytes]:
    """A sample's files by their suffix, in the order of the tar."""
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


def read_shards(folder: Location) -> Iterator[Sample]:
    """Yield the samples of all committed shards in the order of units and seeds."""
    yield from _read(checked_shards(folder))


def stream(folder: Location, *, seed: int, buffer: int = 2000) -> Iterator[Sample]:
    """Yield samples without end, each epoch in an order of its own: shards shuffled, then samples within a buffer."""
    paths = checked_shards(folder)
    for epoch in itertools.count():
        rng = random.Random(f"{seed}-{epoch}")
        yield from _read(rng.sample(paths, len(paths)), shuffle(buffer, rng=rng, initial=buffer))


def checked_shards(folder: Location) -> list[Location]:
    """The tars of all committed units. Raises DatasetError for one that is not as long as its report says.

    A tar that is cut at a member's border reads without any error, so the length is looked at first.
    """
    paths, sizes = [], storage.sizes(folder)
    for report in each_report(folder):
        path = shard_path(folder, report.unit)
        if sizes.get(path.name) != report.bytes:
            raise DatasetError(
                f"{path} is missing or not as long as its report says; run `datasetddpm generate` with --repair"
            )
        paths.append(path)
    if not paths:
        raise DatasetError(f"{folder} holds no shards; generate a dataset there first")
    return paths


def _read(paths: list[Location], *stages: Any) -> Iterator[Sample]:
    opened = ({"url": str(path), "stream": io.BytesIO(storage.read(path))} for path in split_by_node(paths))
    dataset = DataPipeline(lambda: opened, tar_file_expander, group_by_keys, *stages)
    for record in dataset:
        yield _sample(record)


def write_index(folder: Location) -> Location:
    """Write index.parquet: one row a candidate, dropped ones included; a report at a time is in memory."""
    path, buffer = folder / "index.parquet", io.BytesIO()
    with pq.ParquetWriter(buffer, _INDEX) as writer:
        for several in _chunks(each_report(folder), 256):
            rows = [{"shard": shard_path(folder, r.unit).name, **asdict(c)} for r in several for c in r.candidates]
            writer.write_table(pa.Table.from_pylist(rows, _INDEX))
    storage.write_whole(path, buffer.getvalue())
    return path


def _chunks(items: Iterable[Report], size: int) -> Iterator[list[Report]]:
    rest = iter(items)
    while several := list(itertools.islice(rest, size)):
        yield several


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

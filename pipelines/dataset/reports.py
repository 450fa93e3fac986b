"""The reports of a dataset's shards. A report is written last: it is the commit marker of its unit."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from pipelines import storage
from pipelines.errors import DatasetError
from pipelines.storage import Location


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
    counts: dict[str, int]  # candidates by what the recipe's filter made of them: kept, dropped
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

    def content(self) -> str:
        """What `parse` reads."""
        return json.dumps(asdict(self)) + "\n"


def shard_path(folder: Location, unit: int) -> Location:
    return folder / f"shard-{unit:06d}.tar"


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

"""The reports of a dataset's shards. A report is written last: it is the commit marker of its unit."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from generate.stored import STRICT, Natural, Seconds, StoredError, stored
from pipelines.dataset.inventory import Inventory, report_path, take_inventory, unit_of
from pipelines.dataset.manifest import Dataset, stored_dataset
from pipelines.errors import DatasetError
from pipelines.files import storage
from pipelines.files.storage import Location

Nats = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Candidate:
    """What is remembered of every seed, dropped ones included."""

    __pydantic_config__ = STRICT

    seed: Natural
    kept: bool
    uncertainty: float
    class_pixels: list[Natural]
    class_uncertainty: list[Nats] = field(default_factory=list)  # mean of each class's pixels, nats; none: not known
    kept_for: str | None = None  # the class for whose sake it stays, where it is not among the most certain
    prompt: str | None = None  # what it was painted from, where that was words


@dataclass(frozen=True)
class Report:
    """A committed shard."""

    __pydantic_config__ = STRICT

    unit: Natural
    digest: str  # of the dataset
    counts: dict[str, Natural]  # candidates by what the filter made of them: kept, dropped; kept for CLASS
    seconds: dict[str, Seconds]  # by phase
    bytes: Natural
    sha256: str
    candidates: list[Candidate]
    batch_size: Annotated[int, Field(ge=1)] | None = None  # where a GPU had no memory for the recipe's

    def content(self) -> str:
        """What `parse_report` reads."""
        record = asdict(self)
        for candidate in record["candidates"]:
            if candidate["prompt"] is None:
                del candidate["prompt"]
        return json.dumps(record, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Totals:
    """What the shards of a dataset hold together."""

    shards: int
    kept: int  # candidates that the filter left
    candidates: int

    @property
    def dropped(self) -> int:
        """Candidates that the filter left out."""
        return self.candidates - self.kept

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(self.shards + other.shards, self.kept + other.kept, self.candidates + other.candidates)


def counts_of(candidates: Iterable[Candidate]) -> dict[str, int]:
    """How many of them the filter kept and dropped, and how many of the kept ones for the sake of which class."""
    several = list(candidates)
    kept = sum(candidate.kept for candidate in several)
    reasons = Counter(f"kept for {each.kept_for}" for each in several if each.kept and each.kept_for is not None)
    return {"kept": kept, "dropped": len(several) - kept, **dict(sorted(reasons.items()))}


def write_report(folder: Location, report: Report) -> None:
    """Commit a unit whose shard is there, or change what its report says."""
    storage.write_whole(report_path(folder, report.unit), report.content().encode())


def parse_report(content: bytes, path: Location) -> Report:
    """Raises DatasetError, which names path and field, for anything but a report whose numbers fit together."""
    try:
        report = stored(content, Report)
    except StoredError as error:
        raise DatasetError(f"{path} is no report of a shard ({error})") from error
    if report.counts != counts_of(report.candidates):
        raise DatasetError(f"{path} is no report of a shard (counts: they are not those of its candidates)")
    if any(len(each.class_uncertainty) not in (0, len(each.class_pixels)) for each in report.candidates):
        raise DatasetError(f"{path} is no report of a shard (class_uncertainty: it is of other classes)")
    if any(one.seed >= other.seed for one, other in pairwise(report.candidates)):
        raise DatasetError(f"{path} is no report of a shard (candidates: their seeds do not rise)")
    return report


def reports(folder: Location) -> list[Report]:
    """The reports that are in the folder, by number of unit."""
    return list(each_report(take_inventory(folder)))


def each_report(inventory: Inventory) -> Iterator[Report]:
    """The same one by one: all reports of a large dataset are gigabytes in memory.

    Raises DatasetError for one that is of another unit, or of another dataset than the folder's.
    """
    dataset = stored_dataset(inventory.folder)
    for path, content in contents(inventory):
        report = parse_report(content, path)
        if is_strange(report, path.name, dataset):
            raise DatasetError(
                f"{path} is the report of another unit or dataset; run `datasetddpm generate` with --repair"
            )
        yield report


def contents(inventory: Inventory) -> Iterator[tuple[Location, bytes]]:
    """Every report's path with what it holds, by number of unit; a part of them is in memory at a time."""
    for names in inventory.reports_in_parts():
        paths = [inventory.folder / name for name in names]
        yield from zip(paths, storage.read_all(paths), strict=True)


def is_strange(report: Report, name: str, dataset: Dataset | None) -> bool:
    """Whether the report does not belong where it lies: it is of another unit, or of another dataset."""
    return report.unit != unit_of(name) or (dataset is not None and report.digest != dataset.digest)


def counted(reports: Iterable[Report]) -> Totals:
    """What these reports add up to."""
    return sum((Totals(1, r.counts["kept"], len(r.candidates)) for r in reports), start=Totals(0, 0, 0))

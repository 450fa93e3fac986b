"""The reports of a dataset's shards. A report is written last: it is the commit marker of its unit."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

from pipelines import storage
from pipelines.dataset.inventory import Inventory, report_path, take_inventory
from pipelines.errors import DatasetError
from pipelines.storage import Location


@dataclass(frozen=True)
class Candidate:
    """What is remembered of every seed, dropped ones included."""

    seed: int
    kept: bool
    uncertainty: float
    class_pixels: list[int]
    class_uncertainty: list[float] = field(default_factory=list)  # mean of each class's pixels, nats; none: not known
    kept_for: str | None = None  # the class for whose sake it stays, where it is not among the most certain


@dataclass(frozen=True)
class Report:
    """A committed shard."""

    unit: int
    digest: str  # of the dataset
    counts: dict[str, int]  # candidates by what the filter made of them: kept, dropped; of the first: kept for CLASS
    seconds: dict[str, float]  # by phase
    bytes: int
    sha256: str
    candidates: list[Candidate]
    batch_size: int | None = None  # where a GPU had no memory for the recipe's

    def content(self) -> str:
        """What `parse_report` reads."""
        return json.dumps(asdict(self)) + "\n"


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
    """Raises DatasetError, which names the path, for anything but a report."""
    try:
        record = json.loads(content)
        candidates = [Candidate(**candidate) for candidate in record.pop("candidates")]
        return Report(**record, candidates=candidates)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(f"{path} is no report of a shard ({error})") from error


def reports(folder: Location) -> list[Report]:
    """The reports that are in the folder, by number of unit."""
    return list(each_report(take_inventory(folder)))


def each_report(inventory: Inventory) -> Iterator[Report]:
    """The same one by one: all reports of a large dataset are gigabytes in memory."""
    paths = [inventory.folder / name for name in inventory.reports]
    for path, content in zip(paths, storage.read_all(paths), strict=True):
        yield parse_report(content, path)


def counted(reports: Iterable[Report]) -> Totals:
    """What these reports add up to."""
    return sum((Totals(1, r.counts["kept"], len(r.candidates)) for r in reports), start=Totals(0, 0, 0))

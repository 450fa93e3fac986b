"""What is wrong in a dataset's folder, and taking it away so that it is made again."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipelines import storage
from pipelines.dataset.manifest import Dataset, open_dataset
from pipelines.dataset.reports import Report, is_report, shard_path, unit_of
from pipelines.errors import DatasetError
from pipelines.storage import Location


@dataclass(frozen=True)
class Damage:
    """One file that is not as it should be, and the unit that it spoils, if any."""

    file: str
    what: str
    unit: int | None = None

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


def planned_units(dataset: Dataset) -> range | None:
    """The units of a generated dataset; None for one that was not made unit by unit."""
    samples, size = dataset.recipe.get("samples"), dataset.recipe.get("unit_size")
    return range(-(-samples // size)) if samples and size else None


def missing_units(folder: Location) -> list[int]:
    """Units of the plan that have no report yet."""
    reported = {unit_of(name) for name in storage.names(folder) if is_report(name)}
    return sorted(set(planned_units(open_dataset(folder)) or ()) - reported)


def damages(folder: Location) -> list[Damage]:
    """Read every byte and compare it with the reports; units that are not made yet are no damage."""
    digest, sizes = open_dataset(folder).digest, storage.sizes(folder)
    found = [Damage(name, "is a temporary file of a run that was killed") for name in temporaries(folder)]
    for name in sorted(sizes):
        if name.startswith("shard-") and name.endswith(".tar") and name.replace(".tar", ".json") not in sizes:
            found.append(Damage(name, "has no report, so it was not committed", unit_of(name)))
    for name in sorted(filter(is_report, sizes)):
        try:
            found += _damage(folder, name, Report.read(folder / name), digest, sizes)
        except DatasetError:
            found.append(Damage(name, "is no report of a shard", unit_of(name)))
    return found


def _damage(folder: Location, name: str, report: Report, digest: str, sizes: dict[str, int]) -> list[Damage]:
    path = shard_path(folder, report.unit)
    if (report.unit, report.digest) != (unit_of(name), digest):
        return [Damage(name, "is the report of another unit or dataset", unit_of(name))]
    if path.name not in sizes:
        return [Damage(path.name, "is missing, its report is there", report.unit)]
    if sizes[path.name] != report.bytes:
        return [Damage(path.name, f"has {sizes[path.name]} bytes, its report says {report.bytes}", report.unit)]
    if hashlib.sha256(storage.read(path)).hexdigest() != report.sha256:
        return [Damage(path.name, "is not what was written: its sha256 differs from the report's", report.unit)]
    return []


def remove_damages(folder: Location) -> list[Damage]:
    """Take away all that is damaged, the report of a unit before its shard; the folder must be leased."""
    found = damages(folder)
    for damage in found:
        if damage.unit is None:
            storage.remove(folder / damage.file)
        else:
            path = shard_path(folder, damage.unit)
            storage.remove(path.with_suffix(".json"))
            storage.remove(path)
    return found


def temporaries(folder: Location) -> list[str]:
    """Files that a killed process left half-written; on an object store there are none."""
    if not isinstance(folder, Path):
        return []
    return sorted(name for name in storage.names(folder) if storage.is_temporary(name))


def remove_temporaries(folder: Location) -> list[str]:
    """Remove them; the folder must be leased and none of its actors at work."""
    found = temporaries(folder)
    for name in found:
        storage.remove(folder / name)
    return found

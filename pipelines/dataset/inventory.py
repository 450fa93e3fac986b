"""What lies in a dataset's folder, from one listing, and how its files are named."""

import re
from dataclasses import dataclass
from pathlib import Path

from pipelines import storage
from pipelines.storage import Location

INDEX = "index.parquet"
_UNIT_FILE = re.compile(r"shard-([0-9]{6}|[1-9][0-9]{6,})\.(?:tar|json)")


def shard_path(folder: Location, unit: int) -> Location:
    return folder / f"shard-{unit:06d}.tar"


def report_path(folder: Location, unit: int) -> Location:
    return shard_path(folder, unit).with_suffix(".json")


def unit_of(name: str) -> int | None:
    """The unit of a shard or a report, by its file's name; None for the name of any other file."""
    match = _UNIT_FILE.fullmatch(name)
    return int(match[1]) if match else None


@dataclass(frozen=True)
class Inventory:
    """One listing of a dataset's folder."""

    folder: Location
    sizes: dict[str, int]  # bytes of every file by its name

    @property
    def committed(self) -> set[int]:
        """Units whose report is there, and the shard that it speaks of."""
        return self._by_unit(".json").keys() & self._by_unit(".tar").keys()

    @property
    def reports(self) -> list[str]:
        """Names of the reports, by number of unit."""
        return [name for _, name in sorted(self._by_unit(".json").items())]

    @property
    def uncommitted(self) -> list[str]:
        """Names of the shards that no report speaks of, by number of unit."""
        reports, shards = self._by_unit(".json"), self._by_unit(".tar")
        return [name for unit, name in sorted(shards.items()) if unit not in reports]

    @property
    def temporaries(self) -> list[str]:
        """Files that a killed process left half-written; on an object store there are none."""
        return sorted(filter(storage.is_temporary, self.sizes)) if isinstance(self.folder, Path) else []

    @property
    def is_indexed(self) -> bool:
        return INDEX in self.sizes

    def missing(self, units: range) -> list[int]:
        """Those of the units that are not committed, in their order."""
        committed = self.committed
        return [unit for unit in units if unit not in committed]

    def _by_unit(self, suffix: str) -> dict[int, str]:
        units = {name: unit_of(name) for name in self.sizes if name.endswith(suffix)}
        return {unit: name for name, unit in units.items() if unit is not None}


def take_inventory(folder: Location) -> Inventory:
    """List the folder; one that is not there holds nothing. Raises StorageError where the storage refuses."""
    return Inventory(folder, storage.sizes(folder))

"""What lies in a dataset's folder, from one listing, and how its files are named.

Units are kept as numbers in arrays: of ten million of them a dict or set of names would take gigabytes.
"""

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.files import disk, storage
from pipelines.files.storage import Location

INDEX = "index.parquet"
_UNIT_FILE = re.compile(r"shard-([0-9]{6}|[1-9][0-9]{6,9})\.(tar|json)", re.ASCII)
_MOST_UNITS = 2**32 - 1
_SATURATED = 2**32 - 1  # bytes of a shard; what is larger is remembered beside the array
_PART = 65_536  # units of which the names are in memory together


def shard_path(folder: Location, unit: int) -> Location:
    return folder / f"shard-{unit:06d}.tar"


def report_path(folder: Location, unit: int) -> Location:
    return shard_path(folder, unit).with_suffix(".json")


def unit_of(name: str) -> int | None:
    """The unit of a shard or a report, by its file's name; None for the name of any other file."""
    match = _UNIT_FILE.fullmatch(name)
    return int(match[1]) if match and int(match[1]) < _MOST_UNITS else None


@dataclass(frozen=True, eq=False)
class Inventory:
    """One listing of a dataset's folder."""

    folder: Location
    others: dict[str, int]  # bytes of every file that is neither shard nor report, by its name
    _reports: np.ndarray  # units, ascending, uint32
    _shards: np.ndarray  # unit << 32 | bytes, ascending, uint64
    _large: dict[int, int]  # bytes of the shards that do not fit there, by their unit

    @classmethod
    def of(cls, folder: Location, files: Iterable[tuple[str, int]]) -> "Inventory":
        """Of the names and bytes of all files in the folder, in any order."""
        reports, shards, large, others = array("I"), array("Q"), dict[int, int](), dict[str, int]()
        for name, size in files:
            unit = unit_of(name)
            if unit is None:
                others[name] = size
            elif name.endswith(".json"):
                reports.append(unit)
            else:
                shards.append(unit << 32 | min(size, _SATURATED))
                if size >= _SATURATED:
                    large[unit] = size
        return cls(folder, others, _ascending(reports, np.uint32), _ascending(shards, np.uint64), large)

    @property
    def is_empty(self) -> bool:
        return not (len(self._reports) or len(self._shards) or self.others)

    @property
    def has_units(self) -> bool:
        """Whether any shard or report is there."""
        return bool(len(self._reports) or len(self._shards))

    def size(self, unit: int) -> int | None:
        """Bytes of the unit's shard; None where there is none."""
        place = int(np.searchsorted(self._shards, np.uint64(unit << 32)))
        if place == len(self._shards) or int(self._shards[place]) >> 32 != unit:
            return None
        return self._large.get(unit, int(self._shards[place]) & _SATURATED)

    @property
    def committed(self) -> set[int]:
        """Units whose report is there, and the shard that it speaks of."""
        return set(self._committed().tolist())

    @property
    def count(self) -> int:
        """How many are committed."""
        return len(self._committed())

    def _committed(self) -> np.ndarray:
        return self._reports[_is_among(self._reports, self._shards, 32)]

    @property
    def reports(self) -> list[str]:
        """Names of the reports, by number of unit."""
        return [name for part in self.reports_in_parts() for name in part]

    def reports_in_parts(self) -> Iterator[list[str]]:
        """The same, some at a time."""
        for start in range(0, len(self._reports), _PART):
            yield [f"shard-{unit:06d}.json" for unit in self._reports[start : start + _PART].tolist()]

    @property
    def uncommitted(self) -> list[str]:
        """Names of the shards that no report speaks of, by number of unit."""
        spoken_of = _is_among(self._shards, self._reports, 0, shift=32)
        return [f"shard-{place >> 32:06d}.tar" for place in self._shards[~spoken_of].tolist()]

    @property
    def temporaries(self) -> list[str]:
        """Files that a killed process left half-written; on an object store there are none."""
        return sorted(filter(storage.is_temporary, self.others)) if isinstance(self.folder, Path) else []

    @property
    def is_indexed(self) -> bool:
        return INDEX in self.others

    def missing(self, units: range) -> list[int]:
        """Those of the units that are not committed, in their order."""
        committed, missing = self._committed(), list[int]()
        for start in range(0, len(units), _PART):
            part = np.asarray(units[start : start + _PART], dtype=np.int64)
            missing += part[~_is_among(part, committed, 0)].tolist()
        return missing


def take_inventory(folder: Location) -> Inventory:
    """List the folder; one that is not there holds nothing. Raises StorageError where the storage refuses."""
    return Inventory.of(folder, listed(folder))


def listed(folder: Location) -> Iterator[tuple[str, int]]:
    """Name and bytes of every file in the folder, of a disk one by one."""
    if isinstance(folder, Path):
        yield from ((name, state.st_size) for name, state in disk.files_in(folder))
    else:
        yield from storage.sizes(folder).items()


def _ascending(numbers: array, dtype: type[np.generic]) -> np.ndarray:
    """The array's own memory, sorted in place."""
    view = np.frombuffer(numbers, dtype) if len(numbers) else np.empty(0, dtype)
    view.sort()
    return view


def _is_among(numbers: np.ndarray, known: np.ndarray, shifted: int, *, shift: int = 0) -> np.ndarray:
    """For each of the numbers, moved right by `shift`, whether it is among `known`, which is moved by `shifted`."""
    found = np.zeros(len(numbers), dtype=np.bool_)
    for start in range(0, len(numbers) if len(known) else 0, _PART):
        part = numbers[start : start + _PART].astype(np.uint64) >> np.uint64(shift)
        low = part << np.uint64(shifted)
        places = np.searchsorted(known, low.astype(known.dtype))
        there = known[np.minimum(places, len(known) - 1)].astype(np.uint64) >> np.uint64(shifted)
        found[start : start + _PART] = (places < len(known)) & (there == part)
    return found

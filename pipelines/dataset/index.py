"""index.parquet: all candidates of a dataset as one table, and what they add up to."""

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.dataset.inventory import INDEX, Inventory, shard_path, take_inventory
from pipelines.dataset.reports import Report, Totals, counted, each_report
from pipelines.files import storage
from pipelines.files.storage import Location

_SCHEMA = pa.schema(
    {
        "shard": pa.string(),
        "seed": pa.int64(),
        "kept": pa.bool_(),
        "uncertainty": pa.float64(),
        "class_pixels": pa.list_(pa.int64()),
    }
)
_OF_WORDS = _SCHEMA.append(pa.field("prompt", pa.string()))
_NEAREST = (pa.field("nearest", pa.string()), pa.field("nearness", pa.float64()))
"""What `report` adds: what is nearest to a sample, and how near; null of one that was not looked at."""
_AT_ONCE = 256  # reports that are in memory together


def write_index(inventory: Inventory) -> Totals:
    """Write index.parquet from the reports: one row a candidate, dropped ones included, by number of unit.

    Of images that were painted from words, `prompt` is a column as well.
    """
    buffer, total, chunks = io.BytesIO(), Totals(0, 0, 0), _chunks(each_report(inventory))
    first = next(chunks, [])
    schema = _schema_of(row for report in first for row in _rows(report))
    with pq.ParquetWriter(buffer, schema) as writer:
        for several in itertools.chain([first] if first else [], chunks):
            rows = [row for report in several for row in _rows(report)]
            writer.write_table(pa.Table.from_pylist(rows, schema))
            total += counted(several)
    storage.write_whole(inventory.folder / INDEX, buffer.getvalue())
    return total


def totals(inventory: Inventory) -> Totals:
    """What the dataset holds: by its index, or by its reports where no index of these very shards is there."""
    return indexed(inventory) or counted(each_report(inventory))


def indexed(inventory: Inventory) -> Totals | None:
    """What the dataset holds by its index; None where no index is there that can be read and knows these shards."""
    index = _read(inventory, ["shard", "kept"])
    if index is None:
        return None
    return Totals(len(index["shard"].unique()), int(index["kept"].to_numpy().sum()), len(index))


def says_otherwise(inventory: Inventory) -> bool:
    """Whether index.parquet cannot be read, or says anything of a candidate that its unit's report does not."""
    index, at = _read(inventory, _SCHEMA.names, also=["prompt"]), 0
    if index is None:
        return True
    schema = _OF_WORDS if "prompt" in index.column_names else _SCHEMA
    for several in _chunks(each_report(inventory)):
        rows = [row for report in several for row in _rows(report)]
        if not index.slice(at, len(rows)).equals(pa.Table.from_pylist(rows, schema)):
            return True
        at += len(rows)
    return at != len(index)


def candidates(inventory: Inventory) -> pa.Table:
    """The rows of index.parquet; where no index of these very shards is there, those that it would have.

    What is nearest to a sample is known where `report` has added it.
    """
    more = ["prompt", *(field.name for field in _NEAREST)]
    index = _read(inventory, _SCHEMA.names, also=more)
    if index is not None:
        return index
    rows = [row for report in each_report(inventory) for row in _rows(report)]
    return pa.Table.from_pylist(rows, _schema_of(rows))


def says_nearest(folder: Location, nearest: Mapping[int, tuple[str, float]]) -> bool:
    """Whether index.parquet says already what is nearest to each seed."""
    inventory = take_inventory(folder)
    expected = _with_nearest(inventory, nearest)
    return inventory.is_indexed and expected.equals(_read(inventory, expected.column_names))


def write_nearest(folder: Location, nearest: Mapping[int, tuple[str, float]]) -> None:
    """Let index.parquet say what is nearest to each seed; the others have none."""
    buffer = io.BytesIO()
    pq.write_table(_with_nearest(take_inventory(folder), nearest), buffer)
    storage.write_whole(folder / INDEX, buffer.getvalue())


def _with_nearest(inventory: Inventory, nearest: Mapping[int, tuple[str, float]]) -> pa.Table:
    table = candidates(inventory)
    table = table.drop_columns([field.name for field in _NEAREST if field.name in table.column_names])
    found = [nearest.get(seed, (None, None)) for seed in table["seed"].to_pylist()]
    columns = zip(*found, strict=True) if found else ((), ())
    for field, values in zip(_NEAREST, columns, strict=True):
        table = table.append_column(field, pa.array(values, field.type))
    return table


def _read(inventory: Inventory, columns: list[str], also: Sequence[str] = ()) -> pa.Table | None:
    """Columns of index.parquet, `also` where it has them.

    None where none is there, and for one that cannot be read or that knows other shards than are there.
    """
    if not inventory.is_indexed:
        return None
    try:
        index = pq.ParquetFile(io.BytesIO(storage.read(inventory.folder / INDEX))).read([*columns, *also])
        shards = index["shard"].unique().to_pylist()
        index = index.select([*columns, *(name for name in also if name in index.column_names)])
    except (pa.ArrowException, OSError, KeyError):
        return None
    if {name.removesuffix(".tar") for name in shards} != {name.removesuffix(".json") for name in inventory.reports}:
        return None
    return index


def _schema_of(rows: Iterable[Mapping[str, Any]]) -> pa.Schema:
    return _OF_WORDS if any(row["prompt"] for row in rows) else _SCHEMA


def _rows(report: Report) -> list[dict[str, Any]]:
    shard = shard_path(Path(), report.unit).name
    return [{"shard": shard, **asdict(candidate)} for candidate in report.candidates]


def _chunks(reports: Iterable[Report]) -> Iterator[list[Report]]:
    rest = iter(reports)
    while several := list(itertools.islice(rest, _AT_ONCE)):
        yield several

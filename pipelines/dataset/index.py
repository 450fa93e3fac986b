"""index.parquet: all candidates of a dataset as one table."""

import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.dataset.reports import Report, each_report, shard_path
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

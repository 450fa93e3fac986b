import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.dataset.index import Totals, totals, write_index
from pipelines.dataset.inventory import INDEX, take_inventory
from pipelines.dataset.reports import Candidate
from pipelines.dataset.shards import write_shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Reports of three units, each of three candidates, the last of which is dropped."""
    for unit in range(3):
        candidates = [Candidate(3 * unit + i, i < 2, i / 10, [i, 64 - i]) for i in range(3)]
        write_shard(tmp_path, unit, "digest", b"tar", candidates, {})
    return tmp_path


def test_the_index_has_a_row_for_every_candidate(folder):
    assert write_index(take_inventory(folder)) == Totals(shards=3, kept=6, candidates=9)
    rows = pq.read_table(folder / INDEX).to_pylist()
    assert [row["seed"] for row in rows] == list(range(9))
    assert [row["seed"] for row in rows if not row["kept"]] == [2, 5, 8]
    assert [row["shard"] for row in rows][::3] == [f"shard-00000{unit}.tar" for unit in range(3)]
    assert json.loads(json.dumps(rows[1]["class_pixels"])) == [1, 63]
    assert rows[2]["uncertainty"] == 0.2


def test_rows_are_in_the_order_of_units_and_not_of_names(tmp_path):
    for unit in (999_999, 1_000_000):
        write_shard(tmp_path, unit, "digest", b"tar", [Candidate(unit, True, 0.1, [64])], {})
    write_index(take_inventory(tmp_path))
    assert pq.read_table(tmp_path / INDEX)["seed"].to_pylist() == [999_999, 1_000_000]


def test_writing_the_index_lists_nothing_and_reads_each_report_once(folder, traffic: Counter[str]):
    inventory = take_inventory(folder)
    write_index(inventory)
    assert traffic == {"list": 1, "dataset.json": 1, **{f"shard-00000{unit}.json": 1 for unit in range(3)}}


def test_totals_come_from_the_index_where_it_is_there(folder, traffic: Counter[str]):
    write_index(take_inventory(folder))
    traffic.clear()
    assert totals(take_inventory(folder)) == Totals(3, 6, 9)
    assert traffic == {"list": 1, INDEX: 1}
    assert totals(take_inventory(folder)).dropped == 3


def test_totals_come_from_the_reports_where_there_is_no_index(folder):
    assert totals(take_inventory(folder)) == Totals(3, 6, 9)
    assert totals(take_inventory(folder / "none")) == Totals(0, 0, 0)


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda folder: (folder / INDEX).write_bytes(b"no table"), Totals(3, 6, 9)),
        (
            lambda folder: pq.write_table(pq.read_table(folder / INDEX).select(["seed"]), folder / INDEX),
            Totals(3, 6, 9),
        ),
        (lambda folder: (folder / "shard-000001.json").unlink(), Totals(2, 4, 6)),
        (lambda folder: write_shard(folder, 3, "digest", b"", [Candidate(9, True, 0.1, [64])], {}), Totals(4, 7, 10)),
    ],
    ids=["no index", "an index of other columns", "a shard less", "a shard more"],
)
def test_an_index_that_is_damaged_or_of_other_shards_is_not_believed(folder, harm, expected):
    write_index(take_inventory(folder))
    harm(folder)
    assert totals(take_inventory(folder)) == expected

import tracemalloc
from pathlib import Path

import pytest
from making import begun, commit, plain
from upath import UPath

from label import Scheme
from pipelines.dataset.damage import damages, remove_damages
from pipelines.dataset.inventory import Inventory, shard_path, take_inventory, unit_of
from pipelines.dataset.reports import reports
from pipelines.dataset.shards import write_shard

SCHEME = Scheme(("ground", "dot"))
PLAN = {"samples": 5, "unit_size": 1}
STRANGERS = (
    "shard-x.json",
    "shard-.tar",
    "shard-00001.json",
    "shard-0000017.json",
    "shard-000001.json.bak",
    "lease.tar",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Units 0, 2 and 3 are committed; of 1 there is the shard alone, of 4 the report alone."""
    begun(tmp_path, SCHEME, PLAN)
    for unit in range(5):
        commit(tmp_path, unit, [plain(unit)], SCHEME)
    (tmp_path / "shard-000001.json").unlink()
    (tmp_path / "shard-000004.tar").unlink()
    return tmp_path


def test_a_unit_is_committed_when_its_report_is_there_and_its_shard(folder):
    inventory = take_inventory(folder)
    assert inventory.committed == {0, 2, 3}
    assert inventory.uncommitted == ["shard-000001.tar"]
    assert inventory.reports == [f"shard-00000{unit}.json" for unit in (0, 2, 3, 4)]
    assert (inventory.size(2), inventory.size(1), inventory.size(4), inventory.size(9)) == (10240, 10240, None, None)


def test_missing_is_what_is_not_committed_in_the_order_of_the_plan(folder):
    assert take_inventory(folder).missing(range(5)) == [1, 4]
    assert take_inventory(folder).missing(range(2, 7)) == [4, 5, 6]
    assert take_inventory(folder).missing(range(0)) == []


def test_a_name_says_its_unit_and_a_unit_its_name(tmp_path):
    for unit in (0, 17, 999_999, 1_000_000, 12_345_678):
        path = shard_path(tmp_path, unit)
        assert unit_of(path.name) == unit_of(path.with_suffix(".json").name) == unit
    assert [unit_of(name) for name in STRANGERS] == [None] * len(STRANGERS)


def test_the_order_is_by_number_of_unit_and_not_by_name(tmp_path):
    for unit in (1_000_000, 999_999):
        write_shard(tmp_path, unit, "digest", b"", [], {})
    assert take_inventory(tmp_path).reports == ["shard-999999.json", "shard-1000000.json"]
    assert [report.unit for report in reports(tmp_path)] == [999_999, 1_000_000]


def test_names_that_are_no_shards_of_ours_are_left_alone(folder):
    (folder / "shard-000001.tar").unlink()
    (folder / "shard-000004.json").unlink()
    before = take_inventory(folder)
    for name in STRANGERS:
        (folder / name).write_text("another's")
    inventory = take_inventory(folder)
    assert (inventory.committed, inventory.reports) == (before.committed, before.reports)
    assert damages(inventory) == remove_damages(folder) == []
    assert set(STRANGERS) <= set(take_inventory(folder).others)


def test_an_index_and_temporary_files_are_seen(folder):
    assert not take_inventory(folder).is_indexed
    for name in ("index.parquet", ".shard-000009.json.00ff.tmp", ".hidden", "x.tmp"):
        (folder / name).touch()
    assert take_inventory(folder).is_indexed
    assert take_inventory(folder).temporaries == [".shard-000009.json.00ff.tmp"]


def test_an_object_store_has_no_temporary_files_of_ours(tmp_path):
    folder = UPath(f"memory://{tmp_path}")
    folder.mkdir(parents=True)
    (folder / ".shard-000009.json.00ff.tmp").write_bytes(b"")
    write_shard(folder, 3, "digest", b"tar", [], {})
    inventory = take_inventory(folder)
    assert inventory.temporaries == []
    assert inventory.committed == {3}


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    inventory = take_inventory(tmp_path / "none")
    assert (inventory.committed, inventory.reports, inventory.temporaries) == (set(), [], [])
    assert inventory.missing(range(3)) == [0, 1, 2]


def test_ten_million_units_would_be_listed_in_200_mib(tmp_path):
    """By the bytes that each takes at most, whatever the order of the listing."""
    count, room = 300_000, 200 * 2**20 / 10_000_000
    files = (pair for i in range(count) for pair in named(i * 7919 % count))
    tracemalloc.start()
    try:
        inventory = Inventory.of(tmp_path, files)
        assert (inventory.count, inventory.missing(range(count)), inventory.uncommitted) == (count, [], [])
        assert inventory.size(count - 1) == count + 9
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= count * room + 8 * 2**20, "beside what a part of the units takes at a time"


def named(unit: int) -> list[tuple[str, int]]:
    return [(f"shard-{unit:06d}.tar", unit + 10), (f"shard-{unit:06d}.json", 500)]


def test_a_shard_of_more_than_4_gib_has_its_size(tmp_path):
    inventory = Inventory.of(tmp_path, [("shard-000001.tar", 5 * 2**30), ("shard-000000.tar", 2**32 - 2)])
    assert (inventory.size(1), inventory.size(0)) == (5 * 2**30, 2**32 - 2)

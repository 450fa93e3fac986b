from pathlib import Path

import pytest
from upath import UPath

from pipelines.dataset.damage import damages, remove_damages
from pipelines.dataset.inventory import shard_path, take_inventory, unit_of
from pipelines.dataset.manifest import Dataset, claim
from pipelines.dataset.reports import Candidate, reports
from pipelines.dataset.shards import write_shard

DATASET = Dataset("digest", ["ground"], [[0, 0, 0]], {"samples": 5, "unit_size": 1}, "denoiser", "interpreter", {})
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
    claim(tmp_path, DATASET)
    for unit in range(5):
        write_shard(tmp_path, unit, "digest", bytes([unit]) * 1024, [Candidate(unit, True, 0.1, [64])], {})
    (tmp_path / "shard-000001.json").unlink()
    (tmp_path / "shard-000004.tar").unlink()
    return tmp_path


def test_a_unit_is_committed_when_its_report_is_there_and_its_shard(folder):
    inventory = take_inventory(folder)
    assert inventory.committed == {0, 2, 3}
    assert inventory.uncommitted == ["shard-000001.tar"]
    assert inventory.reports == [f"shard-00000{unit}.json" for unit in (0, 2, 3, 4)]
    assert inventory.sizes["shard-000002.tar"] == 1024


def test_missing_is_what_is_not_committed_in_the_order_of_the_plan(folder):
    assert take_inventory(folder).missing(DATASET.units) == [1, 4]
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
    assert set(STRANGERS) <= set(take_inventory(folder).sizes)


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

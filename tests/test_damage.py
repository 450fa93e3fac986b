from pathlib import Path

import pyarrow.parquet as pq
import pytest
from making import begun, commit, plain

from label import Scheme
from pipelines.dataset.damage import damages, missing_units, remove_damages, remove_temporaries
from pipelines.dataset.index import write_index
from pipelines.dataset.inventory import INDEX, take_inventory
from pipelines.dataset.shards import write_shard
from pipelines.errors import DatasetError

SCHEME = Scheme(("ground", "dot"))
PLAN = {"samples": 5, "unit_size": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset of five units, four of which are made."""
    begun(tmp_path, SCHEME, PLAN)
    for unit in range(4):
        commit(tmp_path, unit, [plain(unit)], SCHEME)
    return tmp_path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "report without tar": (lambda f: (f / "shard-000001.tar").unlink(), "shard-000001.tar is missing", 1),
    "tar without report": (lambda f: (f / "shard-000001.json").unlink(), "shard-000001.tar has no report", 1),
    "truncated tar": (
        lambda f: (f / "shard-000001.tar").write_bytes(bytes(512)),
        "shard-000001.tar has 512 bytes, its report says 10240",
        1,
    ),
    "flipped byte": (lambda f: flip(f / "shard-000001.tar"), "shard-000001.tar is not what was written", 1),
    "stray temporary": (lambda f: (f / ".shard-000001.tar.ab12.tmp").touch(), "is a temporary file of a run", None),
    "half a report": (lambda f: (f / "shard-000001.json").write_text('{"un'), "shard-000001.json is no report", 1),
    "a report in no encoding": (
        lambda f: (f / "shard-000001.json").write_bytes(b"\xff{}"),
        "shard-000001.json is no report",
        1,
    ),
    "a report of another unit": (
        lambda f: (f / "shard-000001.json").write_bytes((f / "shard-000002.json").read_bytes()),
        "shard-000001.json is the report of another unit",
        1,
    ),
    "a unit of a shorter plan": (
        lambda f: write_shard(f, 1, "digest", b"", [], {}),
        "shard-000001.json is of a plan with another number of samples",
        1,
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_named_and_taken_away_with_its_whole_unit(folder, name):
    assert damages(take_inventory(folder)) == []
    damage, sentence, unit = DAMAGE[name]
    damage(folder)
    (only,) = damages(take_inventory(folder))
    assert sentence in str(only)
    assert only.unit == unit
    assert remove_damages(folder) == [only]
    assert damages(take_inventory(folder)) == []
    assert take_inventory(folder).committed == {0, 1, 2, 3} - {unit}
    assert not list(folder.glob("shard-000001.*")) or unit is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: pq.write_table(pq.read_table(path).slice(1), path),
        lambda path: pq.write_table(pq.read_table(path).set_column(2, "kept", [[False] * 4]), path),
    ],
    ids=["cut", "a row less", "other rows"],
)
def test_an_index_that_does_not_say_what_the_reports_say_is_damage(folder, spoil):
    write_index(take_inventory(folder))
    assert damages(take_inventory(folder)) == []
    spoil(folder / INDEX)
    (only,) = damages(take_inventory(folder))
    assert str(only) == "index.parquet does not say what the reports say"
    assert remove_damages(folder) == [only]
    assert not take_inventory(folder).is_indexed


def test_a_shard_of_another_dataset_is_damage(folder):
    write_shard(folder, 1, "another", bytes(10), [], {})
    (only,) = damages(take_inventory(folder))
    assert "another unit or dataset" in str(only)


def test_units_that_are_not_made_yet_are_named_and_no_damage(folder):
    assert missing_units(folder) == [4]
    assert damages(take_inventory(folder)) == []


def test_a_dataset_that_was_not_made_by_units_misses_none(tmp_path):
    begun(tmp_path, SCHEME, {"source": "somewhere"})
    assert missing_units(tmp_path) == []


def test_a_folder_that_is_no_dataset_is_said_so(tmp_path):
    for look in (missing_units, remove_damages):
        with pytest.raises(DatasetError, match=r"holds no dataset\.json"):
            look(tmp_path)


def test_only_temporaries_are_removed_as_such(folder):
    before = sorted(folder.iterdir())
    (folder / ".shard-000009.json.00ff.tmp").write_text("half")
    assert remove_temporaries(take_inventory(folder)) == [".shard-000009.json.00ff.tmp"]
    assert sorted(folder.iterdir()) == before

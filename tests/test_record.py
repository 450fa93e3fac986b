"""What is made once for the same inputs, and what is left of it when the making does not end."""

import json
from pathlib import Path

import pytest

from pipelines.errors import RecipeError, StorageError
from pipelines.record import RECORD, Outcome, Record, Results, once, recorded


class Maker:
    """Writes a file into a folder, and counts how often."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.times = folder, 0

    def __call__(self) -> Results:
        self.times += 1
        (self.folder / "made").write_text(str(self.times))
        return {"times": self.times}


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "out" / "stage")


def outcome(make: Maker, inputs: dict[str, object]) -> Outcome:
    return once(make.folder, inputs, make, clause="a file")


def test_what_was_made_of_the_same_inputs_is_found(make: Maker) -> None:
    made = outcome(make, {"a": 1, "b": [2]})
    found = outcome(make, {"b": [2], "a": 1})
    assert (made.fresh, found.fresh, make.times) == (True, False, 1)
    assert (found.clause, found.where, found.seconds) == ("a file", make.folder, made.seconds)


def test_other_inputs_make_it_again(make: Maker) -> None:
    outcome(make, {"a": 1})
    assert outcome(make, {"a": 2}).fresh
    assert Record.read(make.folder).results == {"times": 2}
    assert recorded(make.folder, {"a": 1}) is None


def test_the_record_says_results_and_seconds(make: Maker) -> None:
    made = outcome(make, {"a": 1})
    record = recorded(make.folder, {"a": 1})
    assert record is not None
    assert (record.results, record.seconds) == ({"times": 1}, made.seconds)
    assert set(json.loads((make.folder / RECORD).read_text())) == {"digest", "seconds", "results"}
    assert {path.name for path in make.folder.iterdir()} == {"made", RECORD}


def test_a_making_that_fails_leaves_no_record_not_even_the_one_before(make: Maker) -> None:
    outcome(make, {"a": 1})

    def fail() -> Results:
        assert not (make.folder / RECORD).exists(), "while it is made anew, the folder is of nothing"
        raise StorageError("full")

    with pytest.raises(StorageError, match="full"):
        once(make.folder, {"a": 2}, fail, clause="a file")
    assert recorded(make.folder, {"a": 1}) is None
    assert outcome(make, {"a": 1}).fresh


def test_a_folder_without_a_record_is_of_no_finished_stage(tmp_path: Path) -> None:
    assert recorded(tmp_path, {"a": 1}) is None
    with pytest.raises(RecipeError, match="holds no finished stage; run the stages before this one first"):
        Record.read(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"digest": "a"}', ""])
def test_a_damaged_record_is_named_and_nothing_is_made_over_it(make: Maker, content: str) -> None:
    outcome(make, {"a": 1})
    (make.folder / RECORD).write_text(content)
    with pytest.raises(RecipeError, match=r"stage.json is no record of a stage; remove it, and run that stage again"):
        outcome(make, {"a": 1})
    assert make.times == 1

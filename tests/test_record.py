"""What is made once for the same inputs, and what is left of it when the making does not end."""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines import record as records
from pipelines.errors import LeaseError, RecipeError, StorageError
from pipelines.files.lease import leased
from pipelines.record import CHECKPOINT, RECORD, Outcome, Record, Results, keep_progress, once, part_of, recorded
from pipelines.stages.made_with import must_stand_on


class Maker:
    """Writes a file into a folder, and counts how often."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.times = folder, 0

    def __call__(self, folder: Path) -> Results:
        self.times += 1
        (folder / "made").write_text(str(self.times))
        return {"times": self.times}

    @property
    def beside(self) -> list[str]:
        return sorted(path.name.partition("stage")[2][:6] for path in self.folder.parent.iterdir())


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "out" / "stage")


def outcome(make: Maker, inputs: dict[str, Any]) -> Outcome:
    return once(make.folder, inputs, make, clause="a file")


def test_what_was_made_of_the_same_inputs_is_found(make: Maker) -> None:
    made = outcome(make, {"a": 1, "b": [2]})
    found = outcome(make, {"b": [2], "a": 1})
    assert (made.fresh, found.fresh, make.times) == (True, False, 1)
    assert (found.clause, found.where, found.seconds) == ("a file", make.folder, made.seconds)


def test_other_inputs_make_another_and_both_stay_and_come_back(make: Maker) -> None:
    first, second = {"a": 1}, {"a": 2}
    outcome(make, first)
    assert outcome(make, second).fresh
    assert Record.read(make.folder).results == {"times": 2}
    assert make.beside == ["", "@" + Record.read(next(make.folder.parent.glob("*@*"))).digest[:5]]
    for inputs, times in ((first, 1), (second, 2), (first, 1)):
        assert not outcome(make, inputs).fresh
        assert Record.read(make.folder).results == {"times": times}
        assert recorded(make.folder, inputs)
    assert make.times == 2


def test_the_record_says_results_and_seconds_and_all_inputs(make: Maker) -> None:
    made = outcome(make, {"a": {"b": [1]}})
    record = recorded(make.folder, {"a": {"b": [1]}})
    assert record is not None
    assert (record.results, record.seconds, record.inputs) == ({"times": 1}, made.seconds, {"a": {"b": [1]}})
    assert set(json.loads((make.folder / RECORD).read_text())) == {"digest", "seconds", "results", "inputs", "files"}
    assert {path.name for path in make.folder.iterdir()} == {"made", RECORD}
    assert make.beside == [""]


def test_a_making_that_fails_leaves_what_was_there_and_nothing_of_its_own(make: Maker) -> None:
    outcome(make, {"a": 1})

    def fail(folder: Path) -> Results:
        (folder / "half").touch()
        raise StorageError("full")

    with pytest.raises(StorageError, match="full") as failed:
        once(make.folder, {"a": 2}, fail, clause="a file")
    assert failed.value.__notes__ == [f"nothing half-made is kept of {make.folder}"]
    assert make.beside == [""]
    assert not outcome(make, {"a": 1}).fresh


def test_a_checkpoint_is_gone_on_with_by_its_own_settings_and_disturbs_no_others(
    make: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(folder: Path) -> Results:
        (folder / CHECKPOINT).write_text("half")
        keep_progress(folder, 3, 9, "update")
        raise KeyboardInterrupt

    def go_on(folder: Path) -> Results:
        return {"from": (folder / CHECKPOINT).read_text()}

    with pytest.raises(KeyboardInterrupt) as stopped:
        once(make.folder, {"train": {"steps": 200}}, stop, clause="")
    part = part_of(make.folder, {"train": {"steps": 200}})
    assert stopped.value.__notes__ == [f"its last checkpoint is kept in {part}, at update 3 of 9"]
    assert outcome(make, {"train": {"steps": 300}}).fresh
    assert f"{part} is unfinished, of another recipe: train.steps was 200, is 300; it stays" in capsys.readouterr().out
    once(make.folder, {"train": {"steps": 200}}, go_on, clause="")
    assert Record.read(make.folder).results == {"from": "half"}
    assert not outcome(make, {"train": {"steps": 300}}).fresh


class Killed(BaseException):
    pass


@pytest.mark.parametrize("steps", range(1, 5))
@pytest.mark.parametrize("back", [False, True], ids=["made", "brought back"])
def test_whatever_step_it_is_killed_after_the_next_run_goes_on_and_nothing_finished_is_lost(
    make: Maker, monkeypatch: pytest.MonkeyPatch, steps: int, back: bool
) -> None:
    first, second = {"a": 1}, {"a": 2}
    outcome(make, first)
    if back:
        outcome(make, second)
        first, second = second, first
    left = steps

    def counted(step: Any) -> Any:
        def do(*arguments: Any, **keywords: Any) -> Any:
            nonlocal left
            result, left = step(*arguments, **keywords), left - 1
            if left == 0:
                raise Killed
            return result

        return do

    with monkeypatch.context() as patch:
        patch.setattr(records, "rename", counted(records.rename))
        patch.setattr(records, "write_whole", counted(records.write_whole))
        patch.setattr(records, "remove_folder", lambda _: None)  # a killed process tidies nothing up
        with contextlib.suppress(Killed):
            once(make.folder, second, make, clause="")
    before = make.times
    for inputs in (first, second, first):
        outcome(make, inputs)
        assert recorded(make.folder, inputs)
    assert make.times <= before + 1
    assert make.times <= 3
    assert recorded(make.folder, first), "it was finished, and is not made a second time"
    assert [name[0] for name in make.beside if name] == ["@"]


def test_of_two_that_make_the_same_the_second_is_told_who_does(make: Maker) -> None:
    make.folder.parent.mkdir()
    said = rf"{re.escape(str(make.folder))} is one where process {os.getpid()} on .* writes, since .*; wait for its end"
    with leased(make.folder, beside=True), pytest.raises(LeaseError, match=said):
        outcome(make, {"a": 1})
    outcome(make, {"a": 1})
    with leased(make.folder, beside=True):
        assert not outcome(make, {"a": 1}).fresh, "who finds it needs no lease"


def test_a_place_that_takes_no_files_is_named_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for parent in (tmp_path / "file" / "out", Path("/proc/none")):
        make = Maker(parent / "stage")
        with pytest.raises(StorageError, match=rf"{parent} takes no files: .*; name another folder, or"):
            outcome(make, {"a": 1})
        assert make.times == 0


def test_who_stands_on_other_settings_is_told_the_first_key(make: Maker) -> None:
    outcome(make, {"train": {"steps": 200}, "seed": 0})
    must_stand_on(make.folder, {"train": {"steps": 200}}, "the network", "train")
    said = r"the network in .*stage is of another recipe: train.steps was 200, is 300; run `datasetddpm train` again"
    with pytest.raises(RecipeError, match=said):
        must_stand_on(make.folder, {"train": {"steps": 300}}, "the network", "train")


def test_what_lies_there_without_a_record_is_put_aside_and_not_lost(make: Maker) -> None:
    make.folder.mkdir(parents=True)
    (make.folder / "mine.mask.png").touch()
    outcome(make, {"a": 1})
    assert [path.parent.name[:14] for path in make.folder.parent.rglob("mine.mask.png")] == ["stage@unknown-"]


@pytest.mark.parametrize("files", [{"files": {}}, {}], ids=["empty", "unnamed"])
def test_what_has_no_digests_of_its_files_is_made_again_once(make: Maker, files: dict[str, Any]) -> None:
    def made() -> Outcome:
        return once(make.folder, {"a": 1}, make, clause="a file", outputs=("made",))

    made()
    record = json.loads((make.folder / RECORD).read_text())
    (make.folder / RECORD).write_text(json.dumps({key: record[key] for key in record if key != "files"} | files))
    said = r"the file in .* is not whole: stage.json has no digests of what was written; run `datasetddpm fit` again"
    with pytest.raises(RecipeError, match=said):
        must_stand_on(make.folder, {}, "the file", "fit")
    assert [made().fresh, made().fresh, make.times] == [True, False, 2]
    must_stand_on(make.folder, {}, "the file", "fit")


def test_a_folder_without_a_record_is_of_no_finished_stage(tmp_path: Path) -> None:
    assert recorded(tmp_path, {"a": 1}) is None
    with pytest.raises(RecipeError, match="holds no finished stage; run the stage that makes it first"):
        Record.read(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"digest": "a"}', ""])
def test_a_damaged_record_is_named_and_nothing_is_made_over_it(make: Maker, content: str) -> None:
    outcome(make, {"a": 1})
    (make.folder / RECORD).write_text(content)
    with pytest.raises(RecipeError, match=r"stage.json is no record of a stage; remove it, and run that stage again"):
        outcome(make, {"a": 1})
    assert make.times == 1

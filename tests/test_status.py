import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from making import begun

from label import Scheme
from pipelines.dataset.reports import Candidate
from pipelines.dataset.shards import write_shard
from pipelines.driver.status import status
from pipelines.driver.tally import Failure, Tally, ranges
from pipelines.files.lease import leased
from pipelines.files.owner import Entry, Owner


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset of five units, of which 0, 1 and 3 are made, each with one candidate of two dropped."""
    begun(tmp_path, Scheme(("ground", "dot")), {"samples": 10, "unit_size": 2})
    for unit in (0, 1, 3):
        candidates = [Candidate(2 * unit + i, bool(i), 0.1, [64]) for i in range(2)]
        write_shard(tmp_path, unit, "digest", b"tar", candidates, {})
    return tmp_path


def test_a_folder_tells_what_is_made_kept_and_missing(folder):
    lines = status(folder)
    assert (lines["units"], lines["samples"]) == ("3 of 5", "6 candidates, 3 kept (50.0%), 3 dropped")
    assert lines["missing"] == "units 2, 4"
    assert "driver" not in lines


def test_the_time_that_is_left_comes_from_what_the_run_measured_however_long_ago_it_was_stopped(folder):
    tally = Tally(5, 10, units_done=3, samples_done=6, started=time.time() - 60)
    assert not {"rate", "left"} & status(folder).keys(), "nobody measured it"
    tally.add(6, 3)
    tally.write(folder)
    for path in folder.iterdir():
        os.utime(path, (0, 0))  # long ago
    assert status(folder)["rate"] == "0.1 samples a second, as the last run measured it"
    assert status(folder)["left"] == "40 s"


def test_while_a_driver_works_it_is_named_with_its_actors(folder):
    tally = Tally(5, 10, alive=3, waiting=2)
    tally.write(folder)
    with leased(folder):
        lines = status(folder)
    assert lines["driver"].startswith(Owner.this_process().name)
    assert (lines["actors"], lines["last run"]) == ("3 alive, 2 waiting", "goes on")
    assert status(folder)["last run"] == "was killed"


def test_a_driver_of_this_machine_that_is_gone_is_called_so(folder):
    gone = replace(Owner.this_process(), process="1 never")
    (folder / "lease-000001.json").write_bytes(Entry(gone, 0.0, 0.0, 0.0).renew().content())
    assert status(folder)["driver"].endswith(", gone")


def test_what_failed_stands_there_after_the_run(folder):
    tally = Tally(5, 10, failures=[Failure(2, "ArithmeticError: no", 3)], ended="finished")
    tally.write(folder)
    assert status(folder)["unit 2"] == "failed 3 times: ArithmeticError: no"


def test_a_tally_counts_what_is_kept_and_says_it_in_a_line():
    tally = Tally(10, 100, units_done=2, samples_done=20)
    tally.add(10, 9)
    assert tally.line().startswith("units 3 of 10, samples 30 of 100, kept 90.0%, samples/s ")
    assert tally.numbers()["kept_share"] == 0.9


def test_a_tally_is_read_as_it_was_written(tmp_path):
    tally = Tally(4, 40, failures=[Failure(1, "so", 2)], alive=2)
    tally.write(tmp_path)
    assert Tally.read(tmp_path) == tally
    assert Tally.read(tmp_path / "none") is None


def test_units_are_told_as_ranges():
    assert ranges([3, 1, 2, 9, 11, 12]) == "1 to 3, 9, 11 to 12"
    assert ranges(range(0, 50, 2)).endswith("38 and 5 more ranges")

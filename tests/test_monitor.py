import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

from conftest import wait_for
from rich.console import Console

from cluster import Crew
from pipelines import progress
from pipelines.driver import monitor
from pipelines.driver.tally import Tally


def test_without_a_terminal_a_line_comes_every_30_seconds_though_no_unit_does(tmp_path: Path, capsys) -> None:
    """A run whose actors wait for machines says so."""
    spoken_at: list[int] = []
    lines: list[str] = []

    def seconds() -> Iterator[float]:
        for second in range(1000, 1061):
            yield second
            if printed := capsys.readouterr().out.splitlines():
                spoken_at.append(second)
                lines.extend(printed)

    monitor.watch(Tally(4, 40, units_done=1, samples_done=10), tmp_path, Crew(waiting=3), seconds())
    assert spoken_at == [1030, 1060]
    assert len(lines) == 2
    assert lines[0].startswith("generate: units 1 of 4, samples 10 of 40, kept -")
    assert "actors 0 alive, 3 waiting" in lines[0]


def test_the_journal_is_written_every_10_seconds(tmp_path: Path) -> None:
    tally, crew, journal, waiting = Tally(4, 40), Crew(), tmp_path / "run.json", list[int]()

    def seconds() -> Iterator[float]:
        for second in range(1000, 1021):
            crew.waiting = second
            yield second
            if journal.exists():
                waiting.append(json.loads(journal.read_text())["waiting"])

    monitor.watch(tally, tmp_path, crew, seconds())
    assert waiting == [1010] * 10 + [1020]


def test_the_tally_is_brought_up_to_date_for_the_length_of_the_block(tmp_path: Path) -> None:
    tally = Tally(4, 40)
    with monitor.shown(tally, tmp_path, Crew(alive=2)):
        deadline = time.monotonic() + 60
        while tally.alive != 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_in_a_terminal_there_is_a_table_that_is_gone_afterwards(tmp_path: Path, monkeypatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=150))
    tally = Tally(4, 40)
    with monitor.shown(tally, tmp_path, Crew()):
        tally.add(10, 9)
        wait_for(lambda: "1 of 4" in screen.getvalue() and "90.0%" in screen.getvalue())
    shown = screen.getvalue()
    assert shown.rstrip().endswith("\x1b[2K"), "the last thing is to clear the lines"


def test_a_storage_that_is_full_does_not_end_the_showing(tmp_path: Path, caplog) -> None:
    monitor.keep(Tally(4, 40), tmp_path / "gone")
    assert "run.json cannot be written" in caplog.text

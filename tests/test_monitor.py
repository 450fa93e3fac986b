import io
import json
from pathlib import Path

import pytest
from conftest import wait_for
from rich.console import Console

from pipelines import progress
from pipelines.driver import monitor
from pipelines.driver.tally import Tally


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 1.5)
    monkeypatch.setattr(monitor, "SECONDS_BETWEEN_JOURNALS", 0.5)
    return monkeypatch


def test_without_a_terminal_a_line_comes_though_no_unit_does(quick, tmp_path: Path, capsys) -> None:
    """A run whose actors wait for machines says so."""
    tally = Tally(4, 40, units_done=1, samples_done=10)

    def look() -> None:
        tally.waiting = 3

    lines: list[str] = []

    def are_there() -> bool:
        lines.extend(capsys.readouterr().out.splitlines())
        return bool(lines) and (tmp_path / "run.json").exists()

    with monitor.shown(tally, tmp_path, look):
        wait_for(are_there)
    line = lines[0]
    assert line.startswith("generate: units 1 of 4, samples 10 of 40, kept -")
    assert "actors 0 alive, 3 waiting" in line
    assert json.loads((tmp_path / "run.json").read_text())["waiting"] == 3


def test_in_a_terminal_there_is_a_table_that_is_gone_afterwards(quick, tmp_path: Path) -> None:
    screen = io.StringIO()
    quick.setattr(progress, "console", Console(file=screen, force_terminal=True, width=150))
    tally = Tally(4, 40)
    with monitor.shown(tally, tmp_path, lambda: None):
        tally.add(10, 9)
        wait_for(lambda: "1 of 4" in screen.getvalue() and "90.0%" in screen.getvalue())
    shown = screen.getvalue()
    assert shown.rstrip().endswith("\x1b[2K"), "the last thing is to clear the lines"


def test_a_storage_that_is_full_does_not_end_the_showing(tmp_path: Path, caplog) -> None:
    monitor.keep(Tally(4, 40), tmp_path / "gone")
    assert "run.json cannot be written" in caplog.text

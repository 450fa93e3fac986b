"""The help of every command: what it reads and writes, one example; and the version."""

import re
import shlex
from collections.abc import Callable
from importlib.metadata import version

import pytest
import typer.main

from pipelines.cli import app
from pipelines.stages import STAGES

Command = Callable[..., str]
COMMANDS = typer.main.get_group(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_reads_and_writes_and_gives_an_example_that_parses(
    name: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = command(name, "--help")
    assert "Reads" in said or "reads" in said
    assert "rites" in said
    assert not re.search(r"\b(TEXT|INTEGER|FLOAT|DIRECTORY)\b", said), "a type is a word of ours"
    (example,) = re.findall(r"Example: (datasetddpm .*)", said)
    program, called, *words = shlex.split(example)
    assert (program, called) == ("datasetddpm", name)
    COMMANDS[name].make_context(name, words)


def test_the_list_of_commands_is_in_the_order_of_work_and_uncut(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = command("--help")
    listed = re.findall(r"^  ([a-z-]+)  +[A-Z]", said.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(COMMANDS)
    assert listed[:9] == ["init", "check", *STAGES]
    assert "..." not in said.partition("Commands:")[2]


def test_the_version_is_printed(command: Command) -> None:
    assert command("--version") == f"datasetddpm {version('datasetddpm')}\n"

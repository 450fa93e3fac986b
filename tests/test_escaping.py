"""Text is shown as it is, wherever: in the terminal, in HTML, in Markdown, in the locale of any machine, in a shell."""

import ast
import io
import json
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pipelines import progress
from pipelines.cli.options import Call, say
from pipelines.driver.submission import quoted
from pipelines.errors import RecipeError
from pipelines.stages.scores import score_page

ROOT = Path(__file__).parent.parent
FILES = [
    path for room in ("generate", "label", "deeplab", "cluster", "pipelines") for path in (ROOT / room).rglob("*.py")
]
HOSTILE = (
    "[/red]",
    "[bold]x[/bold]",
    "[/...] failed",
    "[link=file:///etc/passwd]x",
    "a [0] [1, 2] b",
    "\\[x]",
    "<img src=x>",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_printed_is_no_markup(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    progress.console.print(text)
    say(text)
    assert capsys.readouterr().out == f"{text}\n{text}\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_task_and_its_note_are_no_markup(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    terminal = Console(file=said, force_terminal=True, width=200, markup=False, highlight=False)
    monkeypatch.setattr(progress, "console", terminal)
    list(progress.follow([1, 2], 2, text, "units", note=lambda _: text))
    assert text in said.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_of_a_table_is_no_markup(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("a")
    table.add_row(text)
    progress.console.print(table)
    assert text in capsys.readouterr().out


def test_the_console_of_all_knows_no_markup() -> None:
    assert progress.console.render_str("[bold]x[/bold]").plain == "[bold]x[/bold]"
    assert Progress is not None


def test_a_score_survives_a_terminal_of_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.cli import main

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["datasetddpm", "--version"])
    with pytest.raises(SystemExit):
        main()
    progress.console.print("0.612 ± 0.010")
    out.seek(0)
    assert out.buffer.getvalue().endswith(b"0.612 ? 0.010\n")  # type: ignore[attr-defined]


def test_the_names_of_classes_are_escaped_in_the_page(finished: Path, command: Callable[..., str]) -> None:
    name = "<img src=x onerror=alert(1)>"
    scheme = finished / "annotated" / "scheme.toml"
    scheme.write_text(scheme.read_text("utf-8").replace("dot", name), "utf-8")
    changes = ("--set", f"name={json.dumps('<script>alert(2)</script>')}", "--set", "generate.samples=6")
    recipe = finished / "recipe.toml"
    recipe.write_text(
        "".join(line for line in recipe.read_text("utf-8").splitlines(True) if not line.startswith("held_out")), "utf-8"
    )
    command("fit", recipe, *changes)
    other = ("--set", f'paths.dataset="{finished / "other"}"', "--set", "train.baseline=false")
    from pipelines import Recipe
    from pipelines.units.builder import build, planned

    build(planned(Recipe.load(recipe, changes[1::2] + other[1::2])))(0)
    command("train", recipe, *changes, *other)
    command("report", recipe, *changes, *other)
    page = (finished / "out" / "report" / "report.html").read_text("utf-8")
    assert "<img src=x" not in page
    assert "<script>" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_a_bar_in_the_name_of_a_class_makes_no_column() -> None:
    run = {"mean_iou": 1.0, "published_mean_iou": 1.0, "pixel_accuracy": 1.0, "iou": [1.0]}
    assert "| a\\|b | 1.000 |" in score_page({"interpreter": [run]}, ["a|b"])


@pytest.mark.parametrize("text", ["a b", 'a"b', "a\\b", "a'b", "ü", "$(x)", "`x`", "a;b", '"""'])
def test_what_is_submitted_is_quoted_for_toml_and_for_a_shell(text: str) -> None:
    assert tomllib.loads(f"value = {quoted(text)}") == {"value": text}
    line = Call(Path(text), (f"name={quoted(text)}",), text).line("train")
    assert shlex.split(line) == ["datasetddpm", "train", text, "--set", f"name={quoted(text)}", "--address", text]


def test_an_address_with_a_quote_is_refused_as_one_and_not_as_toml(project: Path) -> None:
    with pytest.raises(RecipeError, match=r"address: .* is none; local, auto"):
        Call(project / "recipe.toml", (), 'a"b\\c').load()


def texts_without_encoding(source: str) -> Iterator[int]:
    """Lines that open a text in the encoding of whatever machine it is."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(key.arg == "encoding" for key in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        mode = next((a.value for a in node.args[1:2] if isinstance(a, ast.Constant)), "r")
        is_open = isinstance(node.func, ast.Name) and name == "open" and "b" not in str(mode)
        if is_open or (name == "read_text" and not node.args) or (name == "write_text" and len(node.args) < 2):
            yield node.lineno


@pytest.mark.parametrize("path", [path for path in FILES if path.name != "lease.py"], ids=lambda path: path.stem)
def test_no_text_depends_on_the_locale(path: Path) -> None:
    """But for those of /proc, which the lease reads."""
    assert not list(texts_without_encoding(path.read_text("utf-8")))


def test_the_check_of_encodings_finds_one() -> None:
    for source in ("p.read_text()", "p.write_text(x)", "open(p)", "open(p, 'w')"):
        assert list(texts_without_encoding(source))
    for source in ("p.read_text('utf-8')", "p.write_text(x, encoding='utf-8')", "open(p, 'rb')"):
        assert not list(texts_without_encoding(source))

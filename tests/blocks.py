"""The code blocks of a Markdown text, and a check of each: it is run, loaded or parsed, by its language.

What would take long or needs a cluster is run smaller, by the two tables below and by nothing else.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from label import Scheme
from pipelines import Recipe

ROOT = Path(__file__).parent.parent
SMALLER = {  # of Python: what a block says -> what is run
    "range(100), run_seed=0, batch_size=25": "range(4), run_seed=0, batch_size=2",
    "classes=few.scheme)": "classes=few.scheme, settings=__import__('label').Fitting(members=2, max_batches=4))",
    "{000000..000007}": "{000000..000003}",
}
HERE = {  # of command lines: other machines' addresses -> this one's
    "head:6379": "local",
    "http://head:8265": "http://127.0.0.1:8265",
    "s3://bucket/faces": "runs/demo/dataset",
}
AS_THE_DEMO = 'train.mix=[{source="synthetic", share=3}, {source="annotated"}]'  # its networks, of the tiny project
DIAGRAMS = ("flowchart ", "sequenceDiagram", "stateDiagram")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its lines."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(frozen=True)
class Workshop:
    """Where blocks are run: a finished project of tiny size, which is the working directory, and the command."""

    folder: Path
    command: Callable[..., str]  # runs `datasetddpm` with these arguments; returns what it prints


class BrokenBlock(AssertionError):
    """A block that does not do what it shows."""


def blocks(document: str, text: str) -> Iterator[Block]:
    """Every fenced block. Raises BrokenBlock for a fence that is never closed."""
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("```"):
            lines.append(line)
        elif opened is None:
            opened, lines = (number, line.strip().removeprefix("```")), []
        else:
            yield Block(document, *opened, "\n".join(lines) + "\n")
            opened = None
    if opened:
        raise BrokenBlock(f"{document}:{opened[0]}: this block has no end")


def check(block: Block, workshop: Workshop) -> None:
    """Run, load or parse the block. Whatever it raises is its mistake."""
    if block.language not in RULES:
        raise BrokenBlock(f"{block}: no rule for {block.language or 'a block without language'}; {', '.join(RULES)}")
    RULES[block.language](block, workshop)


def run_python(block: Block, _: Workshop) -> None:
    text = block.text
    for said, smaller in SMALLER.items():
        text = text.replace(said, smaller)
    exec(compile(text, str(block), "exec"), {"__name__": "block"})


def run_console(block: Block, workshop: Workshop) -> None:
    """Every line that begins with $ is run; the other lines must have the form of what the one before them prints."""
    forms: set[str] = set()
    for line in block.text.splitlines():
        if line.startswith("$ "):
            forms = {form(printed) for printed in run_command(line[2:], workshop).splitlines()}
        elif line.strip() and form(line) not in forms:
            raise BrokenBlock(f"{block}: {line!r} has the form {form(line)!r}; printed is {sorted(forms)}")


def run_command(line: str, workshop: Workshop) -> str:
    """What the command prints. A target of make must exist; what `make demo` does is done with the tiny project."""
    program, *arguments = shlex.split(line, comments=True)
    if program == "make":
        subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True, capture_output=True)
        return workshop.command("run", "recipe.toml", "--set", AS_THE_DEMO) if arguments == ["demo"] else ""
    if program != "datasetddpm":
        raise BrokenBlock(f"{line!r} is no command of ours; known are datasetddpm and make")
    return workshop.command(*(HERE.get(argument, argument) for argument in arguments))


def form(line: str) -> str:
    """A printed line without what differs from run to run: numbers, paths, whether it was made or found."""
    line = re.sub(r"[━─┏┳┓┡╇┩└┴┘]+", "-", line)
    line = re.sub(r"[┃│]", "|", line)
    line = re.sub(r"\bfound\b", "made", line)
    line = re.sub(r"\S*/\S+", "PATH", line)
    line = re.sub(r"\d+(\.\d+)?( ± N)?", "N", line)
    return re.sub(r"\s+", " ", line).strip()


def load_toml(block: Block, workshop: Workshop) -> None:
    """A scheme begins with its classes; anything else is a whole recipe."""
    path = workshop.folder / "block.toml"
    path.write_text(block.text)
    if block.text.startswith("classes"):
        Scheme.load(path)
    else:
        Recipe.load(path)


def find_paths(block: Block, _: Workshop) -> None:
    """A list of what is in the repository: every line begins with a path."""
    for line in block.text.splitlines():
        if not (ROOT / line.split()[0]).exists():
            raise BrokenBlock(f"{block}: there is no {line.split()[0]}")


def know_diagram(block: Block, _: Workshop) -> None:
    if not block.text.startswith(DIAGRAMS):
        raise BrokenBlock(f"{block}: a diagram begins with {', '.join(DIAGRAMS)}")


RULES: dict[str, Callable[[Block, Workshop], object]] = {
    "python": run_python,
    "console": run_console,
    "toml": load_toml,
    "yaml": lambda block, _: list(yaml.safe_load_all(block.text)),
    "json": lambda block, _: json.loads(block.text),
    "text": find_paths,
    "mermaid": know_diagram,
}

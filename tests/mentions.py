"""What a Markdown text names between its blocks: commands with their options, keys of a recipe, files, links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import typer.main
from blocks import ROOT

from pipelines import Recipe, RecipeError
from pipelines.cli import app

RECIPE = ROOT / "pipelines" / "recipes" / "demo.toml"
SECTIONS = set(Recipe.model_fields) - {"name"}
PLACES = {  # how a file is named -> where it lies
    r"(?:cluster|deeplab|docs|generate|label|pipelines|tests)/[\w/.-]*": ROOT,
    r"test_\w+\.py": ROOT / "tests",
    r"bench_\w+\.py": ROOT / "tests" / "bench",
    r"results/[\w.-]+\.md": ROOT / "tests" / "bench",
}


def lacking(document: Path, text: str) -> list[str]:
    """Everything that the text names and that is not there."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", prose) if "://" not in link]
    wrong = [f"link {link}" for link in links if not (document.parent / link).exists()]
    for span in spans:
        wrong += [f"file {span}" for name, home in PLACES.items() if re.fullmatch(name, span) and _is_gone(home, span)]
        wrong += wrong_in_command(span) if span.startswith("datasetddpm ") else []
        wrong += wrong_keys(span)
    in_brackets = re.findall(r"\((results/[\w.-]+\.md)", prose)
    return wrong + [f"file {name}" for name in in_brackets if _is_gone(ROOT / "tests" / "bench", name)]


def _is_gone(home: Path, name: str) -> bool:
    return not (home / name).exists()


def wrong_in_command(span: str) -> Iterator[str]:
    """The command, or its options, that do not exist; what it lacks is no mistake of a sentence."""
    _, name, *words = shlex.split(span)
    command = typer.main.get_group(app).commands.get(name)
    if command is None:
        yield from [] if name.isupper() else [f"command {name}"]  # STAGE stands for any
        return
    known = {option for parameter in command.params for option in parameter.opts}
    yield from (f"option {word} of {name}" for word in words if word.startswith("--") and word not in known)


def wrong_keys(span: str) -> Iterator[str]:
    """Keys of a recipe, section.key, alone or with a value, that it would refuse as unknown."""
    for section, key in re.findall(r"(?:^|[\s'])(\w+)\.(\w+)(?=$|[\s'=])", span):
        if section in SECTIONS:
            try:
                Recipe.load(RECIPE, (f"{section}.{key}=0",))
            except RecipeError as error:
                if "unknown key" in str(error):
                    yield f"key {section}.{key}"

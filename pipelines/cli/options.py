"""Arguments and options that several commands have, and how a command ends."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pipelines.errors import RecipeError
from pipelines.files.refusals import without_secrets
from pipelines.files.storage import Location
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import Outcome
from pipelines.stages import STAGES
from pipelines.stages.order import Lack, lack

_URL = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:/")  # also as a path has it, with one slash

RecipePath = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="The run's recipe: a TOML file, or the name of a shipped one.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as generate.steps=50; repeatable."),
]
Address = Annotated[
    str | None,
    typer.Option(metavar="PLACE", help="The Ray cluster: local, auto, host:6379 or ray://host:10001; cluster.address."),
]
JobAddress = Annotated[str, typer.Option(metavar="URL", help="The HTTP address of the cluster's head.")]
DatasetFolder = Annotated[str, typer.Argument(metavar="FOLDER", help="A dataset's folder, a path or a URL.")]


@dataclass(frozen=True)
class Call:
    """A recipe as the command line gives it, with what stands over it."""

    recipe: Path
    overrides: tuple[str, ...] = ()
    address: str | None = None

    @classmethod
    def of(cls, recipe: Path, overrides: Sequence[str] | None, address: str | None = None) -> "Call":
        return cls(recipe, tuple(overrides or ()), address)

    def load(self) -> Recipe:
        addressed = [f"cluster.address={json.dumps(self.address, ensure_ascii=False)}"] if self.address else []
        return Recipe.load(self.recipe, (*self.overrides, *addressed))

    def line(self, command: str, *more: str) -> str:
        """The whole command line of another command on the same recipe."""
        settings = [word for override in (*self.overrides, *more) for word in ("--set", override)]
        address = ["--address", self.address] if self.address and STAGES[command].on_ray else []
        return shlex.join(["datasetddpm", command, str(self.recipe), *settings, *address])

    def require(self, command: str, recipe: Recipe) -> None:
        """Raises RecipeError, before anything slow is imported, where what the command stands on is not there."""
        if missing := lack(command, recipe):
            raise RecipeError(self.sentence(missing))

    def sentence(self, missing: Lack) -> str:
        return f"{missing.clause}; run `{self.line(missing.maker)}` first" if missing.maker else missing.clause


def load(recipe: Path, overrides: Sequence[str] | None) -> Recipe:
    """The recipe with the command's --set."""
    return Call.of(recipe, overrides).load()


def tell(name: str, outcome: Outcome) -> None:
    """Say what was made; a unit or an image that failed ends in exit code 1."""
    verb = "made" if outcome.fresh else "found"
    console.print(name, style="bold", end=": ")
    say(f"{verb} {outcome.clause} in {from_here(outcome.where)} ({outcome.seconds:.0f} s)")
    end([f"{name}: {failure}" for failure in outcome.failures])


def say(sentence: str) -> None:
    """Print it as it is, whatever brackets a path or an override has; but for the secrets of a URL."""
    console.print(without_secrets(sentence))


def of_this_machine(path: str | Path, option: str) -> Path:
    """The path. Raises RecipeError for a URL, which would become a folder that is called so."""
    if _URL.match(str(path)):
        shown = without_secrets(str(path))
        raise RecipeError(f"{option} {shown}: a path of this machine is needed, not a URL; copy it there afterwards")
    return Path(path)


def from_here(place: Location) -> Location:
    """A path below the working directory as one types it."""
    if isinstance(place, Path) and place.is_relative_to(Path.cwd()):
        return place.relative_to(Path.cwd())
    return place


def end(failures: list[str]) -> None:
    """Print the failures, a sentence each, and end in exit code 1 if there are any."""
    for failure in failures:
        console.print(without_secrets(failure), style="red")
    if failures:
        raise typer.Exit(1)

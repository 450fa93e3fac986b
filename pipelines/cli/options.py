"""Arguments and options that several commands have, and how a command ends."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import Outcome

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The run's recipe, a TOML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a key, as generate.steps=50; repeatable.")]
Address = Annotated[
    str | None, typer.Option(help="The Ray cluster: local, auto, host:6379 or ray://host:10001; cluster.address.")
]
JobAddress = Annotated[str, typer.Option(help="The HTTP address of the cluster's head.")]
DatasetFolder = Annotated[str, typer.Argument(help="A dataset's folder, a path or a URL.")]


def load(recipe: Path, overrides: Sequence[str] | None, address: str | None = None) -> Recipe:
    """The recipe with the command's --set and --address."""
    addressed = [f'cluster.address="{address}"'] if address else []
    return Recipe.load(recipe, (*(overrides or ()), *addressed))


def tell(name: str, outcome: Outcome) -> None:
    """Say what was made; a unit or an image that failed ends in exit code 1."""
    verb = "made" if outcome.fresh else "found"
    console.print(f"[bold]{name}[/bold]: {verb} {outcome.clause} in {outcome.where} ({outcome.seconds:.0f} s)")
    end([f"{name}: {failure}" for failure in outcome.failures])


def end(failures: list[str]) -> None:
    """Print the failures, a sentence each, and end in exit code 1 if there are any."""
    for failure in failures:
        console.print(f"[red]{failure}[/red]")
    if failures:
        raise typer.Exit(1)

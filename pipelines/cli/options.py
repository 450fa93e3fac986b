"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.progress import console
from pipelines.record import Outcome

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The run's recipe, a TOML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a key, as generate.steps=50; repeatable.")]
Address = Annotated[
    str | None, typer.Option(help="The Ray cluster: local, auto, host:6379 or ray://host:10001; cluster.address.")
]
JobAddress = Annotated[str, typer.Option(help="The HTTP address of the cluster's head.")]
DatasetFolder = Annotated[str, typer.Argument(help="A dataset's folder, a path or a URL.")]


def tell(name: str, outcome: Outcome) -> None:
    """Say what was made; a unit or an image that failed ends in exit code 1."""
    verb = "made" if outcome.fresh else "found"
    console.print(f"[bold]{name}[/bold]: {verb} {outcome.what} in {outcome.where} ({outcome.seconds:.0f} s)")
    end([f"{name}: {failure}" for failure in outcome.failures])


def end(failures: list[str]) -> None:
    """What failed, one sentence each, and exit code 1 if anything did."""
    for failure in failures:
        console.print(f"[red]{failure}[/red]")
    if failures:
        raise typer.Exit(1)

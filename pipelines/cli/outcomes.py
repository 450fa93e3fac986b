"""How a command ends."""

import typer

from pipelines.progress import console
from pipelines.stage import Outcome


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

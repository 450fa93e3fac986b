"""The command `datasetddpm`."""

import logging
import sys
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cluster import ClusterError
from generate import CheckpointError
from label import AnnotationError, InterpreterError, SchemeError
from pipelines import shards
from pipelines.evaluate import evaluate, mean_and_deviation, scores_folder
from pipelines.fit_interpreter import fit
from pipelines.generate_dataset import generate
from pipelines.lease import LeaseError
from pipelines.progress import console
from pipelines.recipe import Recipe, RecipeError
from pipelines.report import report_page, write_report
from pipelines.sample_images import sample_images
from pipelines.shards import DatasetError
from pipelines.stage import Outcome, Record
from pipelines.status import status
from pipelines.storage import StorageError, location
from pipelines.tally import ranges
from pipelines.train_ddpm import train_ddpm
from pipelines.train_deeplab import train
from pipelines.verification import damages, missing_units
from pipelines.worker import dataset_folder

app = typer.Typer(
    help="Annotate a few dozen images; get tens of thousands of labelled ones and a network trained on them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

USER_ERRORS = (RecipeError, DatasetError, CheckpointError, AnnotationError, InterpreterError, SchemeError)
RUN_ERRORS = (ClusterError, LeaseError, StorageError)
STAGES: dict[str, Callable[[Recipe], Outcome]] = {
    "train-ddpm": train_ddpm,
    "sample": sample_images,
    "fit": fit,
    "generate": generate,
    "train": train,
    "evaluate": evaluate,
    "report": write_report,
}
NEXT = {
    "train-ddpm": "sample",
    "sample": "fit",
    "fit": "generate",
    "generate": "train",
    "train": "evaluate",
    "evaluate": "report",
}

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The run's recipe, a TOML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a key, as generate.steps=50; repeatable.")]


Address = Annotated[
    str | None, typer.Option(help="The Ray cluster: local, auto, host:6379 or ray://host:10001; cluster.address.")
]


def run_stage(name: str, recipe: Recipe, stage: Callable[[Recipe], Outcome] | None = None) -> None:
    """Run one stage and say what it made; a unit that failed ends in exit code 1."""
    outcome = (stage or STAGES[name])(recipe)
    verb = "made" if outcome.fresh else "found"
    console.print(f"[bold]{name}[/bold]: {verb} {outcome.what} in {outcome.where} ({outcome.seconds:.0f} s)")
    for failure in outcome.failures:
        console.print(f"[red]{name}: {failure}[/red]")
    if outcome.failures:
        raise typer.Exit(1)


def _command(name: str) -> Callable[..., None]:
    def command(recipe: RecipePath, overrides: Overrides = None) -> None:
        run_stage(name, Recipe.load(recipe, tuple(overrides or ())))
        if name in NEXT:
            console.print(f"next: datasetddpm {NEXT[name]} {recipe}")

    command.__doc__ = STAGES[name].__doc__
    return command


for _name in [name for name in STAGES if name != "generate"]:
    app.command(_name)(_command(_name))


@app.command("generate")
def generate_command(
    recipe: RecipePath,
    overrides: Overrides = None,
    address: Address = None,
    repair: Annotated[bool, typer.Option("--repair", help="Read every byte; make again what is damaged.")] = False,
) -> None:
    """Make the units of the dataset that are not there yet, on all GPUs of a Ray cluster."""
    run_stage("generate", Recipe.load(recipe, _at(address, overrides)), partial(generate, repair=repair))
    console.print(f"next: datasetddpm train {recipe}")


@app.command("run")
def run(recipe: RecipePath, overrides: Overrides = None, address: Address = None) -> None:
    """Run all stages of a recipe, from fit on, that are not done."""
    run_all(Recipe.load(recipe, _at(address, overrides)))


def _at(address: str | None, overrides: list[str] | None) -> tuple[str, ...]:
    return (*(overrides or ()), *([f'cluster.address="{address}"'] if address else []))


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option(help="Where everything is put.")] = Path("runs/demo"),
    overrides: Overrides = None,
) -> None:
    """The whole pipeline on the shipped domain: cartoon faces, 20 of them annotated."""
    path = Path(str(files("pipelines").joinpath("recipes/demo.toml")))
    run_all(Recipe.load(path, (f'paths.out="{out}"', *(overrides or ()))))


@app.command("verify")
def verify(folder: Annotated[str, typer.Argument(help="A dataset's folder, a path or a URL.")]) -> None:
    """Read every byte of a dataset and compare it with the reports; exit code 1 when it is damaged or not whole."""
    where = location(folder)
    damaged, missing = damages(where), missing_units(where)
    for damage in damaged:
        console.print(f"[red]{damage}[/red]")
    if missing:
        console.print(f"[red]not made yet: units {ranges(missing)}; generate goes on with them[/red]")
    if damaged:
        console.print("`datasetddpm generate RECIPE --repair` makes them again")
    if damaged or missing:
        raise typer.Exit(1)
    console.print(f"{folder}: {len(shards.committed_units(where))} shards, all as written")


@app.command("status")
def status_command(folder: Annotated[str, typer.Argument(help="A dataset's folder, a path or a URL.")]) -> None:
    """How far a dataset is, who makes it, and what failed: from its folder alone."""
    for name, value in status(location(folder)).items():
        console.print(f"{name + ':':10} {value}")


def run_all(recipe: Recipe) -> None:
    """All stages from fit on, and the table of scores."""
    stages = ["fit", "generate", "train", "evaluate", "report"]
    for stage in stages if recipe.paths.held_out else stages[:3]:
        run_stage(stage, recipe)
    if recipe.paths.held_out:
        console.print(score_table(recipe))
        console.print(f"Report: {report_page(recipe).resolve()}")


def score_table(recipe: Recipe) -> Table:
    """mIoU of the interpreter and of the networks on the held-out images."""
    folder = scores_folder(recipe)
    results = Record.read(folder).results
    kept = sum(report.counts["kept"] for report in shards.reports(dataset_folder(recipe)))
    network = f"DeepLab{recipe.train.variant.upper()}"
    said = {
        "interpreter": "interpreter (DDPM-Seg), on the images themselves",
        "synthetic": f"{network} trained on {kept} synthetic images",
        "annotated": f"{network} trained as long on the annotated images alone",
    }
    table = Table("", "mIoU", title="On the held-out images")
    for name, runs in results.items():
        table.add_row(said[name], mean_and_deviation([scores["mean_iou"] for scores in runs]))
    return table


def main() -> None:
    """Entry point: mistakes of the user's end in one sentence and exit code 2, those of machines in exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        app()
    except USER_ERRORS as error:
        sys.exit(_say(error, code=2))
    except RUN_ERRORS as error:
        sys.exit(_say(error, code=1))


def _say(error: Exception, *, code: int) -> int:
    typer.echo(f"datasetddpm: {error}", err=True)
    return code

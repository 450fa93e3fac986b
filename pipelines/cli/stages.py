"""The stages of a recipe, one after the other or all of them."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipelines.cli.options import Address, Overrides, RecipePath, load, tell
from pipelines.folders import dataset_folder, report_page, scores_folder
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import Outcome
from pipelines.stages import STAGES, Stage, next_stage, stages_of_run

app = typer.Typer()


def _command(stage: Stage) -> Callable[..., None]:
    """What the command line calls; its parameters are the stage's options.

    A recipe is read before the stage is imported, so that its mistakes wait for neither torch nor Ray.
    """

    def here(recipe: RecipePath, overrides: Overrides = None) -> None:
        loaded = load(recipe, overrides)
        _tell(stage, recipe, stage.imported()(loaded))
        _show(stage, loaded)

    def on_ray(recipe: RecipePath, overrides: Overrides = None, address: Address = None) -> None:
        loaded = load(recipe, overrides, address)
        _tell(stage, recipe, stage.imported()(loaded))

    def repairing(
        recipe: RecipePath,
        overrides: Overrides = None,
        address: Address = None,
        repair: Annotated[bool, typer.Option("--repair", help="Read every byte; make again what is damaged.")] = False,
    ) -> None:
        loaded = load(recipe, overrides, address)
        _tell(stage, recipe, stage.imported()(loaded, repair=repair))

    if stage.name == "generate":
        return repairing
    return on_ray if stage.on_ray else here


def _tell(stage: Stage, recipe: Path, outcome: Outcome) -> None:
    """Say what was made, and what comes next."""
    tell(stage.name, outcome)
    if following := next_stage(stage):
        console.print(f"next: datasetddpm {following.name} {recipe}")


def _show(stage: Stage, recipe: Recipe) -> None:
    """What of its result is read at once: the table of scores, and where the page is."""
    if stage.name == "evaluate":
        console.print(_score_table(recipe))
        console.print(f"Scores: {(scores_folder(recipe) / 'scores.md').resolve()}")
    if stage.name == "report":
        console.print(f"Report: {report_page(recipe).resolve()}")


for _stage in STAGES.values():
    app.command(_stage.name, help=_stage.help)(_command(_stage))


@app.command("run")
def run(recipe: RecipePath, overrides: Overrides = None, address: Address = None) -> None:
    """Run all stages of a recipe, from fit on, that are not done."""
    _run(load(recipe, overrides, address))


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option(help="Where everything is put.")] = Path("runs/demo"),
    overrides: Overrides = None,
) -> None:
    """The whole pipeline on the shipped domain: cartoon faces, 20 of them annotated."""
    recipe = Path(str(files("pipelines").joinpath("recipes/demo.toml")))
    _run(load(recipe, [f'paths.out="{out}"', *(overrides or ())]))


def _run(recipe: Recipe) -> None:
    """Every stage of the recipe, and the table of scores."""
    from pipelines.driver.placing import joined, placed

    stages = stages_of_run(recipe)
    with joined(recipe.cluster):
        for stage in stages:
            tell(stage.name, stage.make(recipe) if stage.on_ray else placed(stage.name, stage.make, recipe))
    for stage in stages:
        _show(stage, recipe)


def _score_table(recipe: Recipe) -> Table:
    """mIoU of the interpreter and of the networks on the held-out images."""
    from pipelines.dataset.index import totals
    from pipelines.dataset.inventory import take_inventory
    from pipelines.stages.scores import over_runs, source_names, stored_scores

    names = source_names(recipe, totals(take_inventory(dataset_folder(recipe))).kept)
    table = Table("", "mIoU", "counted as published", title="On the held-out images")
    for source, runs in stored_scores(recipe).items():
        values = ([scores[key] for scores in runs] for key in ("mean_iou", "published_mean_iou"))
        table.add_row(names[source], *map(over_runs, values))
    return table

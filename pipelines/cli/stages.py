"""The stages of a recipe, one after the other or all of them."""

import json
from collections.abc import Callable, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipelines.cli.options import Address, Call, Overrides, RecipePath, from_here, of_this_machine, say, tell
from pipelines.folders import dataset_folder, report_page, samples_folder, scores_folder
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import Outcome
from pipelines.stages import STAGES, Stage, next_stage, stages_of_run
from pipelines.stages.order import has_images

app = typer.Typer()
Partial = Annotated[bool, typer.Option("--partial", help="Go on though units of the dataset are missing.")]
Among = Annotated[
    int | None,
    typer.Option("--of", min=1, metavar="NUMBER", help="Choose them among so many: unlike what is annotated."),
]


def _command(stage: Stage) -> Callable[..., None]:
    """What the command line calls; its parameters are the stage's options.

    A recipe is read before the stage is imported, so that its mistakes wait for neither torch nor Ray.
    """

    def here(recipe: RecipePath, overrides: Overrides = None) -> None:
        call, loaded = _called(stage, recipe, overrides)
        _end(stage, call, loaded, stage.imported()(loaded))

    def repairing(
        recipe: RecipePath,
        overrides: Overrides = None,
        address: Address = None,
        repair: Annotated[bool, typer.Option("--repair", help="Read every byte; make again what is damaged.")] = False,
    ) -> None:
        call, loaded = _called(stage, recipe, overrides, address)
        _end(stage, call, loaded, stage.imported()(loaded, repair=repair))

    def whole(
        recipe: RecipePath,
        overrides: Overrides = None,
        address: Address = None,
        partial: Partial = False,
    ) -> None:
        call, loaded = _called(stage, recipe, overrides, address)
        _end(stage, call, loaded, stage.imported()(loaded, partial=partial))

    def counted(
        recipe: RecipePath,
        overrides: Overrides = None,
        count: Annotated[int, typer.Option("-n", min=1, metavar="NUMBER", help="How many images.")] = 64,
        of: Among = None,
    ) -> None:
        call, loaded = _called(stage, recipe, overrides)
        _end(stage, call, loaded, stage.imported()(loaded, count=count, of=of))

    ways = {"generate": repairing, "sample": counted, "train": whole}
    return ways.get(stage.name, here)


def _called(
    stage: Stage, recipe: Path, overrides: Sequence[str] | None, address: str | None = None
) -> tuple[Call, Recipe]:
    """The call and its recipe, once all is there that the stage stands on."""
    call = Call.of(recipe, overrides, address)
    loaded = call.load()
    call.require(stage.name, loaded)
    return call, loaded


def _end(stage: Stage, call: Call, recipe: Recipe, outcome: Outcome) -> None:
    """Say what was made, and what comes next."""
    tell(stage.name, outcome)
    _show(stage, recipe)
    if following := next_stage(stage, recipe):
        say(f"next: {_next(following, call, recipe)}")


def _next(following: Stage, call: Call, recipe: Recipe) -> str:
    """The command that goes on; before `fit` a person annotates, unless that is done."""
    few, samples = recipe.paths.annotated, samples_folder(recipe)
    if following.name != "fit" or (few and few != samples and has_images(few)):
        return call.line(following.name)
    here = from_here(samples)
    if few is None:
        line = call.line("fit", f"paths.annotated={json.dumps(str(samples), ensure_ascii=False)}")
        return f"annotate the images in {here} (each needs NAME.mask.png beside it), then: {line}"
    there = "" if few == samples else f", put both into {from_here(few)}"
    return f"annotate the images in {here} (each needs NAME.mask.png beside it){there}, then: {call.line('fit')}"


def _show(stage: Stage, recipe: Recipe) -> None:
    """What of its result is read at once: the table of scores, and where the page is."""
    if stage.name == "evaluate":
        console.print(_score_table(recipe))
        console.print(f"Scores: {(scores_folder(recipe) / 'scores.md').resolve()}")
    if stage.name == "report":
        console.print(f"Report: {report_page(recipe).resolve()}")


for _stage in STAGES.values():
    app.command(_stage.name, help=cleandoc(_stage.help))(_command(_stage))


@app.command("run")
def run(recipe: RecipePath, overrides: Overrides = None, address: Address = None) -> None:
    """Run all stages of a recipe, from fit on, that are not done.

    Reads what the recipe's [paths] name. Writes paths.out, with a page at the end where there is paths.held_out. What
    was stopped goes on when it is run again. Keys: those of fit, generate, train, evaluate, report.

    Example: datasetddpm run recipe.toml --set train.baseline=true
    """
    _run(Call.of(recipe, overrides, address))


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where everything is put.")] = Path("runs/demo"),
    overrides: Overrides = None,
) -> None:
    """Run the whole pipeline on shipped cartoon faces.

    20 of them are annotated. Reads nothing but the package. Writes dataset, networks, scores and a page, in about 6
    minutes on 2 cores. Keys: those of run.

    Example: datasetddpm demo --out faces
    """
    place = json.dumps(str(of_this_machine(out, "--out")), ensure_ascii=False)
    _run(Call.of(Path("demo"), [f"paths.out={place}", *(overrides or ())]))


def _run(call: Call) -> None:
    """Every stage of the recipe, and the table of scores."""
    recipe = call.load()
    call.require("fit", recipe)
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

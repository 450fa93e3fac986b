"""Commands before any work: a recipe for one's own folders, and a look at all that a recipe names."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipelines.cli.options import Call, Overrides, RecipePath, from_here, say
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.stages import stages_of_run
from pipelines.stages.order import has_images, lack
from pipelines.stages.overview import standings
from pipelines.stages.state import Standing

app = typer.Typer()


@app.command("init")
def init_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where recipe.toml is written.")],
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Photographs, on which a diffusion model is to be trained.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="PLACE", help="A diffusion model that exists: .pt, diffusers folder, Hub id.")
    ] = None,
) -> None:
    """Write a recipe for your photographs or your model.

    Reads the sizes of the images, and measures for a few seconds how fast this machine trains; or reads the model's
    configuration. Writes recipe.toml and annotated/scheme.toml, with comments; overwrites nothing.

    Example: datasetddpm init cats --images cats/photos
    """
    from pipelines.stages.init import init

    written, scheme = init(folder, images, model)
    say(f"init: made {from_here(written)} and {from_here(scheme)}")
    say(f"next: name your classes in {from_here(scheme)}, then: {Call(folder / 'recipe.toml').line('check')}")


@app.command("check")
def check_command(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Say what is ready, what is wrong and what comes next.

    Takes a second or two. Reads files, sizes, classes, masks, blocks, permissions, free disk space, packages and GPUs;
    writes nothing. Exit code 2 where something is wrong.

    Example: datasetddpm check recipe.toml
    """
    from pipelines.stages.check import check

    call = Call.of(recipe, overrides)
    loaded = call.load()
    findings = check(loaded)
    table = Table(show_header=False, box=None)
    for finding in findings:
        mark = Text(finding.mark, style="red" if finding.mark == "wrong" else "")
        table.add_row(mark, finding.subject, Text(finding.clause))
    console.print(table)
    found = _stages(loaded)
    stages = Table("stage", "", box=None)
    for stage in found:
        stages.add_row(stage.stage, Text(_state(stage, found, call, loaded)))
    console.print(stages)
    if following := _following(found, loaded):
        say(f"next: {call.line(following.stage)}{following.options}")
    if any(finding.mark == "wrong" for finding in findings):
        raise typer.Exit(2)


def _stages(recipe: Recipe) -> list[Standing]:
    """How every stage of the recipe stands. Who has annotated needs no samples."""
    few = recipe.paths.annotated
    names = {stage.name for stage in stages_of_run(recipe)}
    names |= {"train-ddpm"} if recipe.paths.unlabelled else set()
    names |= set() if few and has_images(few) else {"sample"}
    return [stage for stage in standings(recipe) if stage.stage in names]


def _state(stage: Standing, found: list[Standing], call: Call, recipe: Recipe) -> str:
    """As `check` says it: as `status` does and, of what is not begun, what it waits for."""
    if stage.state in ("done", "not needed"):
        return "made"
    if stage.state != "missing":
        return f"{stage.state}: {stage.note}"
    if missing := lack(stage.stage, recipe):
        return f"waits for {missing.maker}" if missing.maker else f"waits: {missing.clause}"
    for before in found[: found.index(stage)]:
        if before.state in ("outdated", "damaged"):
            remedy = f"`{call.line(before.stage)}{before.options}`" if before.is_to_be_made else before.note
            return f"waits for {before.stage}, which is {before.state}: {remedy}"
    return "ready"


def _following(found: list[Standing], recipe: Recipe) -> Standing | None:
    """The first that its command makes; none where something before it must be done by hand, or is under way."""
    for stage in found:
        if stage.options is None or stage.state == "under way":
            return None
        if stage.is_to_be_made and lack(stage.stage, recipe) is None:
            return stage
    return None

"""Commands about a dataset's folder, or a run's."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from label import Scheme
from pipelines.cli.options import Call, DatasetFolder, Overrides, of_this_machine, tell
from pipelines.dataset.damage import damages
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.driver.status import status
from pipelines.driver.tally import ranges
from pipelines.folders import place_of
from pipelines.places import is_recipe
from pipelines.progress import console, duration
from pipelines.stages.overview import standings, standings_of
from pipelines.stages.state import Standing

app = typer.Typer()


@app.command("status")
def status_command(
    place: Annotated[
        str, typer.Argument(metavar="RECIPE|FOLDER", help="A recipe, its paths.out, or a dataset's folder or URL.")
    ],
    overrides: Overrides = None,
) -> None:
    """Say how far a run or a dataset is.

    Says what is done, under way or missing, and how long the rest takes. Reads a recipe and the folders of its run, or
    such a folder alone, also while others write there. Writes nothing.

    Example: datasetddpm status runs/demo
    """
    if is_recipe(place):
        call = Call.of(Path(place), overrides)
        _print_standings(standings(call.load()), call.line)
    elif found := standings_of(place_of(place, "FOLDER")):
        _print_standings(found, lambda stage: f"datasetddpm {stage} RECIPE")
    else:
        for name, value in status(place_of(place, "FOLDER")).items():
            console.print(f"{name + ':':10} {value}")


def _print_standings(found: list[Standing], command: Callable[[str], str]) -> None:
    """A line for each stage; what is not done ends with the command that goes on."""
    for stage in found:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(stage.made)) if stage.made else ""
        took = duration(stage.seconds) if stage.seconds else ""
        line = ", ".join(filter(None, (made, took, stage.note)))
        if stage.is_to_be_made:
            line += f"{': ' if line else ''}`{command(stage.stage)}{stage.options}`"
        console.print(f"{stage.stage:10}  {stage.state:10}  {line}")


@app.command("verify")
def verify(folder: DatasetFolder) -> None:
    """Compare every byte of a dataset with its reports.

    Reads a dataset's folder, and of photographs their lists; writes nothing. Exit code 1 when it is damaged or not
    whole.

    Example: datasetddpm verify runs/demo/dataset
    """
    where = place_of(folder, "FOLDER")
    inventory = take_inventory(where)
    damaged, dataset = damages(inventory), open_dataset(where)
    missing = sorted(set(inventory.missing(dataset.units)) - {damage.unit for damage in damaged})
    for damage in damaged:
        console.print(str(damage), style="red")
    if missing:
        console.print(f"not made yet: units {ranges(missing)}; generate goes on with them", style="red")
    if any(damage.is_made_again for damage in damaged):
        here, imported = "`datasetddpm generate RECIPE --repair` makes", "remove them, and `datasetddpm import` writes"
        console.print(f"{here if dataset.interpreter else imported} them again")
    if not all(damage.is_made_again for damage in damaged):
        console.print("nothing makes a list of photographs again; restore it, or begin anew in another folder")
    if damaged or missing:
        raise typer.Exit(1)
    console.print(f"{folder}: {inventory.count} shards, all as written")


@app.command("import-npz")
def import_npz_command(
    npz: Annotated[Path, typer.Argument(metavar="NPZ", help="A published synthetic set.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="The dataset's folder, a path or a URL.")],
    scheme: Annotated[Path | None, typer.Option(metavar="FILE", help="The classes, a TOML file; else counted.")] = None,
    portion: Annotated[
        float, typer.Option(metavar="SHARE", help="The most uncertain share of each unit, to be dropped.")
    ] = 0.0,
    unit_size: Annotated[int, typer.Option(metavar="NUMBER", help="Rows of a shard.")] = 250,
) -> None:
    """Turn a published synthetic set into shards.

    Reads images, labels and uncertainty of one npz. Writes a dataset's folder, which train reads as one that generate
    made.

    Example: datasetddpm import-npz samples.npz --out dataset --scheme scheme.toml
    """
    from pipelines.dataset.import_npz import import_npz

    tell(
        "import-npz",
        import_npz(npz, place_of(out, "--out"), scheme and Scheme.load(scheme), portion=portion, unit_size=unit_size),
    )


@app.command("export")
def export_command(
    dataset: DatasetFolder,
    out: Annotated[str, typer.Option(metavar="PLACE", help="The folder to write, of npz the file.")],
    format_name: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="What to write, as coco; a wrong one lists all.")
    ] = "npz",
    split: Annotated[
        str | None, typer.Option(metavar="SHARES", help="Shares of train, val and test, as 0.9,0.1; by seed.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help='On the index, as "uncertainty < 0.2".')
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="COCO: an annotation for each connected region.")
    ] = False,
    without: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="Leave its pixels unlabelled; repeatable.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="Processes; else by cores and images.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Go on though units are missing.")] = False,
) -> None:
    """Write a dataset as another program reads it.

    Reads a dataset's folder, also s3://. Writes the samples that were kept into a folder, as images and masks for
    trainers, or as pre-annotations to be corrected, the most uncertain first. What was stopped is gone on with.

    Example: datasetddpm export runs/demo/dataset --format coco --out coco --split 0.9,0.1
    """
    from pipelines.formats.out import export

    options = {"split": split, "where": where, "instances": instances, "without": tuple(without or ())}
    where_to = of_this_machine(out, "--out")
    outcome = export(place_of(dataset, "FOLDER"), where_to, format_name, workers=workers, partial=partial, **options)
    tell("export", outcome)

"""Commands about a dataset's folder."""

from pathlib import Path
from typing import Annotated

import typer

from label import Scheme
from pipelines.cli.options import DatasetFolder, tell
from pipelines.dataset.damage import damages
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.driver.status import status
from pipelines.driver.tally import ranges
from pipelines.progress import console
from pipelines.storage import location

app = typer.Typer()


@app.command("status")
def status_command(folder: DatasetFolder) -> None:
    """How far a dataset is, who makes it, and what failed: from its folder alone."""
    for name, value in status(location(folder)).items():
        console.print(f"{name + ':':10} {value}")


@app.command("verify")
def verify(folder: DatasetFolder) -> None:
    """Read every byte of a dataset and compare it with the reports; exit code 1 when it is damaged or not whole."""
    where = location(folder)
    inventory = take_inventory(where)
    damaged, units = damages(inventory), open_dataset(where).units
    missing = sorted(set(inventory.missing(units)) - {damage.unit for damage in damaged})
    for damage in damaged:
        console.print(f"[red]{damage}[/red]")
    if missing:
        console.print(f"[red]not made yet: units {ranges(missing)}; generate goes on with them[/red]")
    if damaged:
        console.print("`datasetddpm generate RECIPE --repair` makes them again")
    if damaged or missing:
        raise typer.Exit(1)
    console.print(f"{folder}: {len(inventory.committed)} shards, all as written")


@app.command("import-npz")
def import_npz_command(
    npz: Annotated[Path, typer.Argument(metavar="NPZ", help="A published synthetic set.")],
    out: Annotated[Path, typer.Option(help="The dataset's folder.")],
    scheme: Annotated[Path | None, typer.Option(help="The classes, a TOML file; else they are counted.")] = None,
    portion: Annotated[float, typer.Option(help="The most uncertain share of each unit, to be dropped.")] = 0.0,
    unit_size: Annotated[int, typer.Option(help="Rows of a shard.")] = 250,
) -> None:
    """Turn a published synthetic set, images, labels and uncertainty in an npz, into shards."""
    from pipelines.dataset.import_npz import import_npz

    tell("import-npz", import_npz(npz, out, scheme and Scheme.load(scheme), portion=portion, unit_size=unit_size))


@app.command("export")
def export_command(
    dataset: Annotated[Path, typer.Argument(help="A dataset's folder.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format_name: Annotated[str, typer.Option("--format", help="Of what kind it is; so far npz alone.")] = "npz",
) -> None:
    """Write a dataset's kept samples as a file of another format."""
    from pipelines.dataset.export_npz import export

    tell("export", export(dataset, out, format_name))

"""Commands by which a dataset or a model is looked at, described and given away."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import DatasetFolder, say
from pipelines.storage import location

app = typer.Typer()


@app.command("preview")
def preview(
    folder: DatasetFolder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The PNG to write.")] = Path("preview.png"),
    count: Annotated[int, typer.Option("-n", min=1, max=400, metavar="NUMBER", help="How many samples.")] = 24,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help='Only such samples, as "uncertainty < 0.2".')
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="SEEDS", help="These samples, as 3,17,40-43.")] = None,
) -> None:
    """Draw a sheet of a dataset's samples.

    Reads a dataset's folder. Writes one PNG of images, masks in the classes' colours, and uncertainty.

    Example: datasetddpm preview runs/demo/dataset --where "uncertainty < 0.2"
    """
    from pipelines.formats.preview import Choice, parse_seeds, write_preview

    choice = Choice(count, where, parse_seeds(seeds) if seeds is not None else ())
    shown = write_preview(location(folder), out, choice)
    say(f"preview: {shown} samples of {folder} in {out}")

"""The commands that take in what other tools wrote."""

from pathlib import Path
from typing import Annotated, Any

import typer

from label import Scheme
from pipelines.cli.options import from_here, say, tell
from pipelines.errors import DatasetError

app = typer.Typer()

FormatName = Annotated[
    str,
    typer.Argument(
        metavar="FORMAT",
        help="labelme, coco, label-studio, cvat, cvat-masks, voc, colours, yolo, binary, huggingface; or npz.",
    ),
]
Place = Annotated[str, typer.Argument(metavar="SOURCE", help="Its file or folder; of huggingface, also a Hub id.")]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="The annotated folder; of npz, the dataset's.")]
SchemeFile = Annotated[Path | None, typer.Option(metavar="FILE", help="The classes, a TOML file; else the source's.")]
Images = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the images lie, if elsewhere.")]
Unlabelled = Annotated[
    str | None, typer.Option(metavar="CLASS", help="What unlabelled pixels are: a class, or ignore.")
]
Columns = Annotated[str | None, typer.Option(metavar="IMAGE,MASK", help="Of huggingface: the columns' names.")]
Split = Annotated[str | None, typer.Option(metavar="NAME", help="Of huggingface: the split.")]
Portion = Annotated[
    float | None, typer.Option(metavar="SHARE", help="Of npz: the most uncertain share of each unit, to be dropped.")
]
UnitSize = Annotated[int | None, typer.Option(metavar="NUMBER", help="Of npz: rows of a shard.")]


@app.command("import")
def import_command(
    format_name: FormatName,
    source: Place,
    out: Out,
    scheme: SchemeFile = None,
    images: Images = None,
    unlabelled: Unlabelled = None,
    columns: Columns = None,
    split: Split = None,
    portion: Portion = None,
    unit_size: UnitSize = None,
) -> None:
    """Turn annotations of another tool into masks.

    Reads images with what was drawn on them. Writes a folder of images, masks and scheme.toml, whole or not at all;
    of npz, a dataset's folder.

    Example: datasetddpm import labelme drawings --out annotated
    """
    given = {"columns": columns, "split": split, "portion": portion, "unit-size": unit_size}
    if format_name == "npz":
        _import_npz(Path(source), out, scheme, images, unlabelled, given)
        return
    from pipelines.formats.into import import_annotations

    outcome = import_annotations(
        format_name,
        source,
        out,
        scheme=scheme,
        images=images,
        unlabelled=unlabelled,
        options={name: str(value) for name, value in given.items() if value is not None},
    )
    tell("import", outcome)
    say(f"next: let paths.annotated name {from_here(out)}, then: datasetddpm check RECIPE")


def _import_npz(
    npz: Path, out: Path, scheme: Path | None, images: Path | None, unlabelled: str | None, given: dict[str, Any]
) -> None:
    """As `import-npz`."""
    others = {"images": images, "unlabelled": unlabelled, "columns": given["columns"], "split": given["split"]}
    if strange := next((name for name, value in others.items() if value is not None), None):
        raise DatasetError(f"--{strange} says nothing of npz; leave it out")
    from pipelines.dataset.import_npz import import_npz

    settings = {name.replace("-", "_"): given[name] for name in ("portion", "unit-size") if given[name] is not None}
    tell("import", import_npz(npz, out, scheme and Scheme.load(scheme), **settings))

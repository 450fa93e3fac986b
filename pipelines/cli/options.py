"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The run's recipe, a TOML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a key, as generate.steps=50; repeatable.")]
Address = Annotated[
    str | None, typer.Option(help="The Ray cluster: local, auto, host:6379 or ray://host:10001; cluster.address.")
]
JobAddress = Annotated[str, typer.Option(help="The HTTP address of the cluster's head.")]
DatasetFolder = Annotated[str, typer.Argument(help="A dataset's folder, a path or a URL.")]

"""The command `datasetddpm`.

A command imports its stage when it runs: help, mistakes and looks at a folder wait for neither torch nor Ray.
"""

import logging
import sys

import typer

from cluster import ClusterError
from deeplab import ExportError
from generate import CheckpointError, ImageError
from label import AnnotationError, InterpreterError, SchemeError
from pipelines.cli import datasets, jobs, models, stages
from pipelines.errors import DatasetError, LeaseError, RecipeError, StorageError

USER_ERRORS = (
    RecipeError,
    ExportError,
    DatasetError,
    CheckpointError,
    AnnotationError,
    ImageError,
    InterpreterError,
    SchemeError,
)
RUN_ERRORS = (ClusterError, LeaseError, StorageError)

app = typer.Typer(
    help="Annotate a few dozen images; get tens of thousands of labelled ones and a network trained on them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _commands in (stages.app, models.app, datasets.app, jobs.app):
    app.add_typer(_commands)


def main() -> None:
    """Entry point. A mistake of the user's ends in one sentence and exit code 2, trouble of a run in exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("ray").setLevel(logging.WARNING)
    try:
        app()
    except USER_ERRORS as error:
        sys.exit(_say(error, code=2))
    except RUN_ERRORS as error:
        sys.exit(_say(error, code=1))


def _say(error: Exception, *, code: int) -> int:
    typer.echo(f"datasetddpm: {error}", err=True)
    return code

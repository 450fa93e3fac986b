"""The command `datasetddpm`.

A command imports its stage when it runs: help, mistakes and looks at a folder wait for neither torch nor Ray.
"""

import errno
import io
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from cluster import ClusterError
from deeplab import DeepLabError
from generate import GenerateError
from label import LabelError
from pipelines.cli import annotate, datasets, features, imports, jobs, models, setup, sharing, stages
from pipelines.errors import InputError, RunError
from pipelines.files.refusals import refusing, without_secrets
from pipelines.stopping import Stopped

USER_ERRORS = (InputError, GenerateError, LabelError, DeepLabError)
RUN_ERRORS = (RunError, ClusterError)
_OF_NAMES = {errno.ENAMETOOLONG, errno.ELOOP}  # whatever looks at a place first


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"datasetddpm {version('datasetddpm')}")
        raise typer.Exit


app = typer.Typer(
    help="Annotate a few dozen images; get tens of thousands of labelled ones and a network trained on them.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"max_content_width": 120},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # paragraphs keep their width, and a type is the word that the option has for it
)


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


_OF_FILES = (setup, stages, features, annotate, models, imports, datasets, sharing, jobs)
for _commands in _OF_FILES:
    app.add_typer(_commands.app)


def main() -> None:
    """Run the command. A mistake ends in one sentence and exit code 2; a machine's failure in one and exit code 1.

    So do Ctrl-C and SIGTERM, with exit codes 130 and 143.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of another encoding loses a letter, not the run
    handler = logging.StreamHandler()
    handler.setFormatter(_WithoutSecrets("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("ray").setLevel(logging.WARNING)
    try:
        with _signals_raised(), refusing(Path.cwd()):
            app()
    except USER_ERRORS as error:
        sys.exit(_say(error, code=2))
    except RUN_ERRORS as error:
        sys.exit(_say(error, code=1))
    except OSError as error:
        if error.errno not in _OF_NAMES:
            raise
        sys.exit(_say(f"{str(error.filename)[:80]!r} is no place that can be opened: {error.strerror}", code=2))
    except Stopped as stop:
        sys.exit(_say(stop.sentence, code=stop.exit_code))


class _WithoutSecrets(logging.Formatter):
    """Messages with their URLs as they may be shown."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise Stopped where they find the main thread, so that all that is open is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    raised: list[Stopped] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        raised.append(Stopped(number))
        raise raised[-1]

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except (*USER_ERRORS, *RUN_ERRORS):
        raise
    except Exception as error:
        if raised:  # of which a library made an error of its own, as one in Rust does that is stopped while imported
            raise raised[-1] from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(error: Exception | str, *, code: int) -> int:
    typer.echo(f"datasetddpm: {without_secrets(str(error))}", err=True)
    return code

"""A run as it goes: a live table in a terminal, a line every 30 seconds elsewhere, metrics, and run.json."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from rich.live import Live
from rich.table import Table

from cluster import Crew, Gauges
from pipelines import progress
from pipelines.driver.tally import Tally
from pipelines.errors import StorageError
from pipelines.files.storage import Location

SECONDS_BETWEEN_JOURNALS = 10.0

_log = logging.getLogger(__name__)


@contextmanager
def shown(tally: Tally, folder: Location, crew: Crew) -> Iterator[None]:
    """Show and keep the tally for the length of the block; a thread brings it up to date with the crew."""
    ended = threading.Event()
    with ExitStack() as stack:
        if progress.console.is_terminal:
            stack.enter_context(Live(console=progress.console, get_renderable=lambda: _table(tally), transient=True))
        thread = threading.Thread(
            target=watch, args=(tally, folder, crew, _seconds(ended)), name="monitor", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _seconds(ended: threading.Event) -> Iterator[float]:
    """The time, by a clock that only goes forward, at once and then each second until the end."""
    yield time.monotonic()
    while not ended.wait(1.0):
        yield time.monotonic()


def watch(tally: Tally, folder: Location, crew: Crew, moments: Iterable[float]) -> None:
    """Bring the tally up to date at each of these moments, in seconds, and tell of it where it is time to."""
    gauges = Gauges("datasetddpm")
    spoken = written = None
    for now in moments:
        tally.alive, tally.waiting = crew.alive, crew.waiting
        gauges.set(tally.numbers())
        if spoken is None or written is None:
            spoken = written = now
        if now - spoken >= progress.SECONDS_BETWEEN_LINES and not progress.console.is_terminal:
            spoken = now
            progress.console.print(f"generate: {tally.line()}")
        if now - written >= SECONDS_BETWEEN_JOURNALS:
            written = now
            keep(tally, folder)


def keep(tally: Tally, folder: Location) -> None:
    """Write run.json; where the storage does not take it, the shards' own trouble ends the run."""
    try:
        tally.write(folder)
    except StorageError as error:
        _log.warning("%s", error)


def _table(tally: Tally) -> Table:
    table = Table(*tally.rows(), title="generate")
    table.add_row(*tally.rows().values())
    return table

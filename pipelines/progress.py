"""Progress with rate and time left: a bar in a terminal, otherwise a line every 30 seconds; a stage's folder has it."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from generate.stored import STRICT, Natural, Seconds, StoredError, stored
from pipelines.errors import StorageError
from pipelines.files import storage
from pipelines.stopping import Stopped

T = TypeVar("T")
Show = Callable[["Pace", str], None]  # how far it is, a note

console = Console(highlight=False, soft_wrap=True, markup=False)  # what is printed is text, whatever brackets it has
SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_JOURNALS = 10.0
JOURNAL = "pace.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How far work is, and how fast it was, as its own process measured it."""

    __pydantic_config__ = STRICT

    done: Natural  # of `total`, what earlier processes did included
    total: Natural
    noun: str
    before: Natural  # done when this process began
    seconds: Seconds  # since then

    @property
    def rate(self) -> float:
        """Of this process, a second."""
        return (self.done - self.before) / max(self.seconds, 1e-6)

    @property
    def left(self) -> float | None:
        """Seconds at that rate; None before there is one."""
        return (self.total - self.done) / self.rate if self.rate else None

    @classmethod
    def read(cls, folder: Path) -> "Pace | None":
        """Of the folder's work that is not done; None where none was begun, or its file is damaged."""
        try:
            return stored(storage.read(folder / JOURNAL), cls)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, StoredError):
            return None

    def write(self, folder: Path) -> None:
        """Where the storage does not take it, the stage's own trouble ends the work."""
        if not folder.is_dir():
            return  # what was half-made is removed already
        try:
            storage.write_whole(folder / JOURNAL, (json.dumps(asdict(self), indent=2, allow_nan=False) + "\n").encode())
        except StorageError as error:
            _log.warning("%s", error)


def follow(
    items: Iterable[T],
    total: int,
    task: str,
    noun: str,
    *,
    before: int = 0,
    count: Callable[[T], int] = lambda _: 1,
    note: Callable[[T], str] = lambda _: "",
    folder: Path | None = None,
) -> Iterator[T]:
    """Yield the items and show how far they are: `count` of an item says how many `noun`s of `total` it is.

    `before` of them were done by earlier runs. Where the work may end early, `total` is the most that there can be, and
    the time left is the longest. In `folder` lies pace.json, for `status`, until the work is done.
    """
    display = _bar if console.is_terminal else _lines
    begun, done = time.monotonic(), before
    with display(total, task, noun, before) as show, _kept(folder) as keep:
        try:
            for item in items:
                done += count(item)
                pace = Pace(done, total, noun, before, time.monotonic() - begun)
                show(pace, note(item))
                keep(pace)
                yield item
        except Stopped as stop:
            stop.add_note(f"{task} was at {done} of {total} {noun}")
            raise


@contextmanager
def _kept(folder: Path | None) -> Iterator[Callable[[Pace], None]]:
    """Keep the newest pace in the folder; a block that ends well leaves none there."""
    if folder is None:
        yield lambda _: None
        return
    paces: list[Pace] = []  # the newest, and the last that was written

    def keep(pace: Pace) -> None:
        is_due = not paces or pace.seconds - paces[-1].seconds >= SECONDS_BETWEEN_JOURNALS
        paces[:] = [pace, pace if is_due else paces[-1]]
        if is_due:
            pace.write(folder)

    try:
        yield keep
    except BaseException:
        if paces:
            paces[0].write(folder)
        raise
    storage.remove(folder / JOURNAL)


@contextmanager
def _bar(total: int, task: str, noun: str, before: int) -> Iterator[Show]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(task, total=total, completed=before, rate="", note="")
        yield lambda pace, note: bars.update(bar, completed=pace.done, rate=f"{pace.rate:.1f} {noun}/s", note=note)


@contextmanager
def _lines(total: int, task: str, noun: str, before: int) -> Iterator[Show]:
    printed = 0.0  # when the last line was

    def show(pace: Pace, note: str) -> None:
        nonlocal printed
        if pace.seconds - printed >= SECONDS_BETWEEN_LINES:
            printed = pace.seconds
            words = [f"{pace.done}/{total} {noun}", f"{pace.rate:.1f} {noun}/s"]
            words += [f"{duration(pace.left)} left"] if pace.left is not None else []
            console.print(f"{task}: {', '.join([*words, note] if note else words)}")

    yield show


def duration(seconds: float) -> str:
    """In words: 2 h 5 min, 3 min 20 s, 7 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"

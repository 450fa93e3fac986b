"""Progress with rate and time left: a bar in a terminal, otherwise a line every 30 seconds."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.stopping import Stopped

T = TypeVar("T")
Show = Callable[[int, float, str], None]  # how many are done, seconds since the start, a note

console = Console(highlight=False, soft_wrap=True)
SECONDS_BETWEEN_LINES = 30.0


def follow(
    items: Iterable[T],
    total: int,
    task: str,
    noun: str,
    *,
    count: Callable[[T], int] = lambda _: 1,
    note: Callable[[T], str] = lambda _: "",
) -> Iterator[T]:
    """Yield the items and show how far they are: `count` of an item says how many `noun`s of `total` it is.

    Where the work may end early, `total` is the most that there can be, and the time left is the longest.
    """
    display = _bar if console.is_terminal else _lines
    start, done = time.monotonic(), 0
    with display(total, task, noun) as show:
        try:
            for item in items:
                done += count(item)
                show(done, time.monotonic() - start, note(item))
                yield item
        except Stopped as stop:
            stop.add_note(f"{task} was at {done} of {total} {noun}")
            raise


@contextmanager
def _bar(total: int, task: str, noun: str) -> Iterator[Show]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(task, total=total, rate="", note="")
        yield lambda done, seconds, note: bars.update(
            bar, completed=done, rate=f"{done / max(seconds, 1e-6):.1f} {noun}/s", note=note
        )


@contextmanager
def _lines(total: int, task: str, noun: str) -> Iterator[Show]:
    printed = 0.0  # when the last line was

    def show(done: int, seconds: float, note: str) -> None:
        nonlocal printed
        if seconds - printed >= SECONDS_BETWEEN_LINES:
            printed, rate = seconds, done / seconds
            left = duration((total - done) / rate)
            console.print(f"{task}: {done}/{total} {noun}, {rate:.1f} {noun}/s, {left} left {note}".rstrip())

    yield show


def duration(seconds: float) -> str:
    """In words: 2 h 5 min, 3 min 20 s, 7 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"

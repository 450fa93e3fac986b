"""Progress with rate and time left: a bar in a terminal, otherwise a line every 30 seconds."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

console = Console(highlight=False, soft_wrap=True)
SECONDS_BETWEEN_LINES = 30.0


def follow(
    items: Iterable[T],
    total: int,
    what: str,
    noun: str,
    *,
    count: Callable[[T], int] = lambda _: 1,
    note: Callable[[T], str] = lambda _: "",
) -> Iterator[T]:
    """Yield the items and show how far they are: `count` of an item says how many `noun`s of `total` it is.

    Where the work may end early, `total` is the most that there can be, and the time left is the longest.
    """
    shown = _in_terminal if console.is_terminal else _in_lines
    yield from shown(items, total, what, noun, count, note)


def _in_terminal(
    items: Iterable[T], total: int, what: str, noun: str, count: Callable[[T], int], note: Callable[[T], str]
) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    start, done = time.monotonic(), 0
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(what, total=total, rate="", note="")
        for item in items:
            done += count(item)
            rate = f"{done / max(time.monotonic() - start, 1e-6):.1f} {noun}/s"
            bars.update(task, completed=done, rate=rate, note=note(item))
            yield item


def _in_lines(
    items: Iterable[T], total: int, what: str, noun: str, count: Callable[[T], int], note: Callable[[T], str]
) -> Iterator[T]:
    start = spoken = time.monotonic()
    done = 0
    for item in items:
        done += count(item)
        now = time.monotonic()
        if now - spoken >= SECONDS_BETWEEN_LINES:
            spoken, rate = now, done / (now - start)
            left = (total - done) / rate
            said = f" {note(item)}" if note(item) else ""
            console.print(f"{what}: {done}/{total} {noun}, {rate:.1f} {noun}/s, {duration(left)} left{said}")
        yield item


def duration(seconds: float) -> str:
    """In words: 2 h 5 min, 3 min 20 s, 7 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"

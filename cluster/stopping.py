"""A flag that signals raise, for work that ends between two units and not in the middle of one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass
class Stop:
    """Whether somebody has asked for the end.

    Not a `threading.Event`: its lock could be held by the very thread that the signal handler interrupts.
    """

    requested: bool = False
    number: int = 0  # of the signal that asked


@contextmanager
def stop_on_signals(stop: Stop | None = None) -> Iterator[Stop]:
    """Turn SIGTERM and SIGINT into a flag, a new one or yours, for the length of the block.

    The first signal only raises the flag; a SIGINT after it does at once what it did before, as a KeyboardInterrupt.
    Enter it in the main thread and inside `connect`, since Ray installs a SIGTERM handler of its own.
    """
    stop = stop or Stop()

    def request(number: int, frame: FrameType | None) -> None:
        if stop.requested and number == signal.SIGINT:
            interrupt(previous[signal.Signals(number)], number)
        stop.requested, stop.number = True, stop.number or number

    previous = {int(number): signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def watched(call: Callable[[], None], stop: Stop, tell: Callable[[], None]) -> None:
    """Make the call in a thread, and `tell` once when the flag is raised; what the call raises is raised here.

    So the main thread hears signals that a library would take for itself. Another SIGINT leaves the call alone.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    thread, is_told = threading.Thread(target=run, daemon=True), False
    thread.start()
    while thread.is_alive():
        thread.join(_SECONDS_BETWEEN_LOOKS)
        if stop.requested and not is_told:
            tell()
            is_told = True
    if failures:
        raise failures[0]


def interrupt(handler: Any, number: int) -> NoReturn:
    """What this handler makes of a signal, which is a KeyboardInterrupt unless it raises something else."""
    if callable(handler):
        handler(number, None)
    raise KeyboardInterrupt

"""A flag that signals raise, for work that ends between two units and not in the middle of one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn


@dataclass
class Stop:
    """Whether somebody has asked for the end.

    Not a `threading.Event`: its lock could be held by the very thread that the signal handler interrupts.
    """

    requested: bool = False


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn SIGTERM and SIGINT into a flag for the length of the block.

    The first signal only raises the flag; a SIGINT after it does at once what it did before, as a KeyboardInterrupt.
    Enter it in the main thread and inside `connect`, since Ray installs a SIGTERM handler of its own.
    """
    stop = Stop()

    def request(number: int, frame: FrameType | None) -> None:
        if stop.requested and number == signal.SIGINT:
            interrupt(previous[signal.Signals(number)], number)
        stop.requested = True

    previous = {int(number): signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def interrupt(handler: Any, number: int) -> NoReturn:
    """What this handler makes of a signal, which is a KeyboardInterrupt unless it raises something else."""
    if callable(handler):
        handler(number, None)
    raise KeyboardInterrupt

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


def interrupt(handler: Any, number: int) -> NoReturn:
    """What this handler makes of a signal, which is a KeyboardInterrupt unless it raises something else."""
    if callable(handler):
        handler(number, None)
    raise KeyboardInterrupt

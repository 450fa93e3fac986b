"""A signal that ends a command, which is no error."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """Ctrl-C or SIGTERM; notes are added on its way up, of how far the work was and what of it is kept."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped by Ctrl-C" if number == signal.SIGINT else "stopped by SIGTERM")
        self.exit_code = 128 + number

    @property
    def sentence(self) -> str:
        return "; ".join([str(self), *getattr(self, "__notes__", []), "the same command goes on"])


@contextmanager
def told_of_signals(tell: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM call this, for the length of the block, and raise nothing. For the main thread."""
    before = {number: signal.signal(number, lambda *_: tell()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

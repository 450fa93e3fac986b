"""A signal that ends a command, which is no error."""

import signal


class Stopped(BaseException):
    """Ctrl-C or SIGTERM; notes are added on its way up, of how far the work was and what of it is kept."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped by Ctrl-C" if number == signal.SIGINT else "stopped by SIGTERM")
        self.exit_code = 128 + number

    @property
    def sentence(self) -> str:
        return "; ".join([str(self), *getattr(self, "__notes__", []), "the same command goes on"])

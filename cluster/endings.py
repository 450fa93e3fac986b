"""Waiting until killed processes are gone: Ray's kill returns before, and they may write for a moment."""

import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_MOST_SECONDS = 10.0
_ELSEWHERE_SECONDS = 1.0  # what a process of another machine is given, for nobody can look there


@dataclass(frozen=True)
class Process:
    """A process of some machine of the cluster."""

    host: str
    pid: int

    @classmethod
    def this_one(cls) -> "Process":
        return cls(socket.gethostname(), os.getpid())

    @property
    def is_gone(self) -> bool:
        """Of a process of this machine."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text("utf-8")
        except (FileNotFoundError, ProcessLookupError):  # it has ended since it was asked, or there is no /proc
            return False
        return stat.rpartition(")")[2].split()[:1] == ["Z"]


def wait_for_ends(killed: Iterable[Process]) -> None:
    """Return when those of this machine are gone, and the others have had time; or when the longest wait is over."""
    here = [process for process in killed if process.host == socket.gethostname()]
    if any(process not in here for process in killed):
        time.sleep(_ELSEWHERE_SECONDS)
    until = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < until and not all(process.is_gone for process in here):
        time.sleep(0.02)

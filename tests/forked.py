"""Processes of their own that begin at once, since a zygote forks them: commands, and the workers of Ray.

A worker of Ray costs 6 s of a core when it imports Ray, torch and diffusers, and a fifth of a second so.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path
from unittest.mock import patch

from filelock import FileLock
from zygote import Task, read_number

TESTS = Path(__file__).parent
COMMAND = """
import sys
from forked import quick_ray
from pipelines.cli import main

sys.argv[0] = "datasetddpm"
with quick_ray():
    main()
"""
RAY = {
    "RAY_AUTH_MODE": "disabled",  # or a token file is written to the home folder
    "RAY_USAGE_STATS_ENABLED": "0",
}
ENVIRONMENT = {**os.environ, **RAY, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
_started: list[subprocess.Popen[bytes]] = []


def zygote() -> str:
    """The address of the zygote, which all processes of one pytest share; the first that asks starts it."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    owner = os.getppid() if is_worker else os.getpid()
    address = Path(tempfile.gettempdir()) / f"tests-{owner}.zygote"
    with FileLock(f"{address}.lock"):
        if not _answers(address):
            address.unlink(missing_ok=True)  # of a zygote that was killed
            command, nothing = [sys.executable, TESTS / "zygote.py", address, str(owner)], subprocess.DEVNULL
            _started.append(subprocess.Popen(command, env=ENVIRONMENT, stdin=nothing, stdout=nothing, process_group=0))
            while not _answers(address):
                assert _started[-1].poll() is None, "the zygote has ended"
                time.sleep(0.02)
    return str(address)


def _answers(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(address)) == 0


class Forked:
    """As `subprocess.Popen` with both streams in one: the command, or other Python, in a process group of its own."""

    def __init__(
        self,
        *arguments: str | Path,
        code: str = COMMAND,
        environment: dict[str, str] | None = None,
        folder: Path = TESTS.parent,
    ) -> None:
        address, self.returncode = zygote(), None
        variables = {**(environment or ENVIRONMENT), "TESTS_ZYGOTE": address}
        task = Task(code, [*map(str, arguments)], variables, str(folder))
        self._said, self._output = "", tempfile.TemporaryFile()  # noqa: SIM115, closed when it has ended
        self._connection = task.send(address, self._output.fileno(), self._output.fileno())
        self.pid = read_number(self._connection) or 0
        assert self.pid, "the zygote has ended"

    @property
    def said(self) -> str:
        """What it has written until now."""
        if self.returncode is None:
            self._said = os.pread(self._output.fileno(), os.fstat(self._output.fileno()).st_size, 0).decode()
        return self._said

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """Its exit code, or the negative number of the signal that ended it; TimeoutError."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            code = read_number(self._connection)
            assert code is not None, "the zygote has ended"
            self._said, self.returncode = self.said, code
            self._connection.close()
            self._output.close()
        return self.returncode

    def kill(self) -> int:
        """Kill its process group, but not those of its children that lead one of their own."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait()


@contextlib.contextmanager
def quick_ray() -> Iterator[None]:
    """Let every Ray that this process starts have its workers from the zygote, and do without three processes more."""
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    less = {"no_monitor": True, "include_log_monitor": False}  # for autoscaling, and for `log_to_driver`
    init = partialmethod(RayParams.__init__, setup_worker_path=str(TESTS / "ray_worker.py"), **less)
    start = Node.start_api_server

    def start_a_dashboard(node: Node, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        if include_dashboard is False:  # Ray would start the server of a dashboard without a dashboard
            node._webui_url = ""
        else:
            start(node, include_dashboard=include_dashboard, raise_on_failure=raise_on_failure)

    with (
        patch.dict(os.environ, RAY, TESTS_ZYGOTE=os.environ.get("TESTS_ZYGOTE") or zygote()),
        patch.object(RayParams, "__init__", init),
        patch.object(Node, "start_api_server", start_a_dashboard),
    ):
        yield

"""A process that has imported the heavy libraries and forks: what it starts need not wait for them.

Who connects to its socket sends a `Task` with two streams; it is sent the number of the new process, and at last how
that ended. A caller that hangs up ends what it started. When the process of the tests is gone the zygote ends.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import types
from dataclasses import asdict, dataclass
from pathlib import Path

# not Ray, whose settings are those of the environment in which it is imported, and none of ours, which may be others
LIBRARIES = (
    *("torch", "torchvision", "torchmetrics", "diffusers.models.unets.unet_2d", "segmentation_models_pytorch"),
    *("pandas", "pyarrow.parquet", "pyarrow.fs", "webdataset", "s3fs", "aiohttp", "jsonschema", "tensorboardX"),
    *("matplotlib.pyplot", "pydantic", "typer", "rich.console", "forked"),
)


@dataclass(frozen=True)
class Task:
    """What a new process does: it runs the Python as `python -c` does, in a process group of its own."""

    code: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str

    def send(self, address: str, output: int, errors: int) -> socket.socket:
        """The connection on which the number of the process comes, and its exit code when it has ended."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address)
        content = json.dumps(asdict(self)).encode()
        socket.send_fds(connection, [number(len(content))], [output, errors])
        connection.sendall(content)
        return connection

    @classmethod
    def receive(cls, connection: socket.socket) -> "tuple[Task, list[int]]":
        length, streams, _, _ = socket.recv_fds(connection, 8, 2)
        content = connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
        return cls(**json.loads(content)), streams

    def run(self, streams: list[int]) -> None:
        """Become the task's process."""
        for stream, own in zip((os.open(os.devnull, os.O_RDONLY), *streams), (0, 1, 2), strict=True):
            os.dup2(stream, own)
            os.close(stream)
        os.setpgid(0, 0)
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.argv = ["-c", *self.arguments]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        code = 0
        try:
            exec(self.code, main.__dict__)
        except SystemExit as ended:
            if isinstance(ended.code, str):
                raise
            code = ended.code or 0
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # or the interpreter would take half a second to take the libraries down


def number(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def read_number(connection: socket.socket) -> int | None:
    """None when the other side has hung up."""
    content = connection.recv(8, socket.MSG_WAITALL)
    return int.from_bytes(content, "big", signed=True) if len(content) == 8 else None


def serve(address: str, owner: int) -> tuple[Task, list[int]]:
    """Fork for every task until the owner is gone; returns in each new process, and only there."""
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    callers: dict[socket.socket, int] = {}
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{address}.new")
    server.listen(64)
    os.rename(f"{address}.new", address)  # from now on it is there
    while Path(f"/proc/{owner}").exists():
        for ready in select.select([server, woken, *callers], [], [], 1.0)[0]:
            if ready is woken:
                woken.recv(4096)
                _tell_the_callers(callers)
            elif ready is server:
                connection, _ = server.accept()
                try:
                    task, streams = Task.receive(connection)
                except (OSError, ValueError):  # the caller was killed meanwhile
                    connection.close()
                    continue
                if (pid := os.fork()) == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for inherited in (server, woken, wake, connection, *callers):
                        inherited.close()
                    return task, streams
                with contextlib.suppress(OSError):
                    os.setpgid(pid, pid)  # here as well, or the caller might be first to signal the group
                for stream in streams:
                    os.close(stream)
                callers[connection] = pid
                with contextlib.suppress(OSError):
                    connection.sendall(number(pid))
            elif ready in callers and read_number(ready) is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(callers.pop(ready), signal.SIGKILL)
                ready.close()
    for path in (address, f"{address}.lock"):
        os.unlink(path)
    sys.exit()


def _tell_the_callers(callers: dict[socket.socket, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            for connection in [connection for connection, pid in callers.items() if pid == ended[0]]:
                del callers[connection]
                with contextlib.suppress(OSError):
                    connection.sendall(number(os.waitstatus_to_exitcode(ended[1])))
                connection.close()


if __name__ == "__main__":
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    task, streams = serve(sys.argv[1], int(sys.argv[2]))
    task.run(streams)

"""Every wait has an end: servers that are no Ray or keep silent, pipes in place of files, a full disk under a log."""

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from serving import Quiet, web_server

import cluster
from cluster import ClusterError, connect, jobs, runtime
from pipelines.errors import StorageError
from pipelines.files import storage
from pipelines.training import events
from pipelines.units.weights import local_weights

Command = Callable[..., str]
LIMIT = 20.0  # seconds, and some for a busy machine


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runtime, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(jobs, "_GREETING_SECONDS", 0.5)
    monkeypatch.setattr(jobs, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(storage, "WAITS", (0.01,))
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < LIMIT


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


PAGE = b"HTTP/1.0 200 OK\r\n\r\n{}"


@contextmanager
def server_that_answers(content: bytes) -> Iterator[int]:
    """A port that says this to everybody."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(1000)
                        connection.sendall(content)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


class Page(Quiet):
    """A server of web pages, which greets and then keeps silent where it is told to."""

    asleep: threading.Event
    status = 200

    def do_GET(self) -> None:
        if not self.path.endswith("/version") and self.status == 200:
            self.asleep.wait(LIMIT)
        with suppress(OSError):
            self.send_response(self.status)
            self.end_headers()
            self.wfile.write(b'{"ray_version": "2.50.0", "version": "4", "session_name": ""}')

    do_POST = do_PUT = do_GET


@pytest.fixture
def web() -> Iterator[int]:
    Page.asleep = threading.Event()
    with web_server(Page) as server:
        yield server.server_port
        Page.asleep.set()


@pytest.mark.parametrize("kind", ["127.0.0.1", "ray://127.0.0.1"])
def test_an_open_port_that_is_no_ray_is_said_to_be_none(web: int, kind: str) -> None:
    with pytest.raises(ClusterError, match="what listens there is no Ray"), connect(f"{kind}:{web}"):
        pass


def test_a_silent_port_is_no_ray(silent: int) -> None:
    with pytest.raises(ClusterError, match="timed out"), connect(f"127.0.0.1:{silent}"):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "[::1]:1", "127.0.0.1:0"])
def test_an_address_that_is_none_is_said_to_be_none(address: str) -> None:
    with pytest.raises(ClusterError, match="No Ray cluster answers"), connect(address):
        pass


@pytest.mark.parametrize("kind", ["http://127.0.0.1:{}", "127.0.0.1:{}", "file:///etc/passwd?{}", "http://a..b:{}"])
def test_no_job_waits_for_a_silent_server(silent: int, kind: str) -> None:
    for call in (cluster.stop, cluster.end_of):
        with pytest.raises(ClusterError, match="No Ray dashboard answers at"):
            call(kind.format(silent), "job")


def test_a_server_that_greets_and_then_keeps_silent_ends_the_call(web: int) -> None:
    with pytest.raises(ClusterError):
        cluster.stop(f"http://127.0.0.1:{web}", "job")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("call", [cluster.stop, cluster.end_of])
def test_a_token_that_is_refused_is_said_to_be(
    web: int, monkeypatch: pytest.MonkeyPatch, status: int, call: Callable[[str, str], object]
) -> None:
    monkeypatch.setattr(Page, "status", status)
    with pytest.raises(ClusterError, match="asks for its token, and does not take this machine's"):
        call(f"http://127.0.0.1:{web}", "job")


def test_a_token_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    code = (
        "import sys, cluster\n"
        "def connect(address):\n    with cluster.connect(address): pass\n"
        "for call in (lambda: connect(sys.argv[1]), lambda: cluster.stop(sys.argv[2], 'job')):\n"
        "    try: call()\n    except cluster.ClusterError as error: print(error)\n"
    )
    with server_that_answers(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])) as ray, server_that_answers(PAGE) as dashboard:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
        environment = kept | {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}
        words = [sys.executable, "-c", code, f"127.0.0.1:{ray}", f"http://127.0.0.1:{dashboard}"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.count("asks for its token") == 2, done.stderr


@pytest.mark.parametrize("name", ["0.png", "0.mask.png", "scheme.toml"])
def test_a_pipe_in_place_of_an_annotated_file_is_named(project: Path, command: Command, name: str) -> None:
    path = project / "annotated" / name
    path.unlink()
    os.mkfifo(path)
    assert name in command("fit", project / "recipe.toml", code=2)
    command("check", project / "recipe.toml", code=2)


def test_a_pipe_in_place_of_a_mask_of_numbers_is_named(project: Path, command: Command) -> None:
    (project / "annotated" / "0.mask.png").unlink()
    os.mkfifo(project / "annotated" / "0.npy")
    assert "0.npy is no file" in command("fit", project / "recipe.toml", code=2)


def test_a_pipe_in_place_of_a_datasets_file_is_named(tmp_path: Path, command: Command) -> None:
    os.mkfifo(tmp_path / "dataset.json")
    said = command("status", tmp_path, code=1)
    assert "dataset.json cannot be read: it is a pipe or a device" in said


def test_a_full_disk_under_the_log_of_a_training_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def logged() -> None:
        with events.opened(tmp_path, 0) as log:
            monkeypatch.setattr(log._writer, "write_event", full)
            for step in range(100):
                log.add("train/loss", 0.5, step)

    with pytest.raises(StorageError, match="tensorboard cannot be written: No space left"):
        logged()


def test_a_server_of_weights_that_stops_answering_ends_the_run(
    web: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("pipelines.files.stores._ANSWER_SECONDS", 0.5)
    with pytest.raises(StorageError, match="make room or repair it"):
        local_weights(f"http://127.0.0.1:{web}/model")

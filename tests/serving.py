"""Web servers on loopback, for tests of what a server may say."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Quiet(BaseHTTPRequestHandler):
    """Answers, and writes nothing to standard error."""

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Files(Quiet, SimpleHTTPRequestHandler):
    pass


def files_of(folder: Path) -> Callable[..., BaseHTTPRequestHandler]:
    """A handler that answers with the files in a folder."""
    return partial(_Files, directory=str(folder))


@contextmanager
def web_server(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[ThreadingHTTPServer]:
    """A server that listens at a port of its own, `server_port`, until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

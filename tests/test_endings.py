import socket
import subprocess
from pathlib import Path

import pytest

from cluster.endings import Process, wait_for_ends


def test_a_process_that_ends_while_it_is_asked_is_waited_for_and_then_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen(["true"])
    read = Path.read_text

    def too_late(path: Path, *arguments: str) -> str:
        if path == Path(f"/proc/{ended.pid}/stat"):
            ended.wait()
        return read(path, *arguments)

    monkeypatch.setattr(Path, "read_text", too_late)
    process = Process(socket.gethostname(), ended.pid)
    assert not process.is_gone
    wait_for_ends([process])
    assert process.is_gone
    assert not Process.this_one().is_gone

"""Who holds a lease: a process, as others may recognise it, and whether it has ended."""

import json
import os
import secrets
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

_over: set[str] = set()  # tokens of this process's own leases whose files could not be removed at their end
PROC = Path("/proc")  # where the machine tells of its processes; macOS has none, and is asked by its commands


@dataclass(frozen=True)
class Owner:
    """A driver, as others may recognise it; `machine` changes with every boot and every container."""

    name: str  # host and process, for people
    machine: str
    process: str  # number and start of the process, as the machine knows it
    token: str

    @classmethod
    def this_process(cls) -> "Owner":
        host, pid = socket.gethostname(), os.getpid()
        return cls(f"process {pid} on {host}", _machine(), f"{pid} {_start_of(pid)}", secrets.token_hex(8))

    def say_goodbye(self) -> None:
        """Let this process, should it come again, not take what is left of its own lease for a living one."""
        _over.add(self.token)

    @property
    def is_here(self) -> bool:
        """Whether it is surely a process of this very machine, in the same boot and container."""
        return bool(_boot()) and self.machine == _machine()

    @property
    def is_gone(self) -> bool:
        """Whether this is a process of this machine that has ended, or one's own lease that is over."""
        if self.token in _over:
            return True
        pid, _, start = self.process.partition(" ")
        return self.is_here and pid.isdecimal() and _start_of(int(pid)) != start


@dataclass(frozen=True)
class Entry:
    """What a lease's file holds."""

    owner: Owner
    taken: float  # seconds since 1970, for people and never compared, as clocks differ
    renewed: float
    expires: float
    held: bool = True  # or a claim, which is withdrawn where another holds

    @classmethod
    def parse(cls, content: bytes) -> "Entry | None":
        """None for a file whose writer was killed, or an object that is no lease."""
        try:
            record = json.loads(content)
            entry = cls(Owner(**record.pop("owner")), **record)
        except (ValueError, TypeError, AttributeError, KeyError):
            return None
        texts = (entry.owner.name, entry.owner.machine, entry.owner.process, entry.owner.token)
        moments = (entry.taken, entry.renewed, entry.expires)
        is_one = all(isinstance(text, str) for text in texts) and all(isinstance(m, int | float) for m in moments)
        return entry if is_one and isinstance(entry.held, bool) else None

    def renew(self, seconds: float = 60.0, *, held: bool = True) -> "Entry":
        """The next one, in a file of another name."""
        now, owner = time.time(), replace(self.owner, token=secrets.token_hex(8))
        return replace(self, owner=owner, renewed=now, expires=now + seconds, held=held)

    def content(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode()


def _machine() -> str:
    return f"{socket.gethostname()} {_boot()}"


def _boot() -> str:
    """Names this boot of the machine or container; empty where the machine does not tell."""
    boot, space = PROC / "sys/kernel/random/boot_id", PROC / "self/ns/pid"
    if boot.exists() and space.exists():
        return f"{boot.read_text('utf-8').strip()} {os.readlink(space)}"
    return _boot_of_macos()


@cache
def _boot_of_macos() -> str:
    return _answer("sysctl", "-n", "kern.bootsessionuuid")


def _start_of(pid: int) -> str:
    """When the process started, as the machine says it; empty for a process that has ended."""
    if not PROC.joinpath("self/stat").exists():
        state, _, start = _answer("ps", "-o", "stat=,lstart=", "-p", str(pid)).partition(" ")
        return "" if state.startswith("Z") else start.strip()
    try:
        state, *fields = (PROC / str(pid) / "stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state == "Z" else fields[18]


def _answer(*command: str) -> str:
    """What a command of the machine says; empty where there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env={**os.environ, "LC_ALL": "C"})
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

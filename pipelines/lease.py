"""The lease of an output folder: one process at a time writes there, on disks and in object stores alike.

The lease is `lease-000001.json`, with owner, time and expiry; its holder writes it anew every few seconds. Another
driver that comes watches it. A lease that changes is held; one that stays the same for its whole length is dead. The
lease of a process of this machine that has ended is dead at once. No clock is compared with another machine's. A dead
lease is taken over by making the next number, which only one driver can; the highest number counts.

Should two drivers write at once, they mix nothing: the same unit has the same bytes.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipelines import storage
from pipelines.errors import LeaseError, StorageError
from pipelines.storage import Location

SECONDS = 60.0  # how long a lease lasts that is not renewed
RENEWAL = 10.0

_log = logging.getLogger(__name__)


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
        return cls(f"process {pid} on {host}", f"{host} {_boot()}", f"{pid} {_start_of(pid)}", secrets.token_hex(8))

    @property
    def is_gone(self) -> bool:
        """Whether this is a process of this machine that has ended."""
        if self.machine != Owner.this_process().machine or not _boot():
            return False
        pid, _, start = self.process.partition(" ")
        return _start_of(int(pid)) != start


@dataclass(frozen=True)
class Entry:
    """What a lease's file holds."""

    owner: Owner
    taken: float  # seconds since 1970, for people and never compared, as clocks differ
    renewed: float
    expires: float

    @classmethod
    def parse(cls, content: bytes) -> "Entry | None":
        """None for a file whose writer was killed, or an object that is no lease."""
        try:
            record = json.loads(content)
            return cls(Owner(**record.pop("owner")), **record)
        except (ValueError, TypeError, AttributeError, KeyError):
            return None

    def renew(self) -> "Entry":
        now = time.time()
        return replace(self, renewed=now, expires=now + SECONDS)

    def content(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode()


@dataclass(frozen=True)
class Place:
    """A folder whose leases lie in it or, where it is replaced as a whole, beside it."""

    folder: Location
    beside: bool = False

    @property
    def prefix(self) -> str:
        return f"{self.folder.name}.lease-" if self.beside else "lease-"

    @property
    def parent(self) -> Location:
        return self.folder.parent if self.beside else self.folder

    def path(self, number: int) -> Location:
        return self.parent / f"{self.prefix}{number:06d}.json"

    def numbers(self) -> list[int]:
        names = (n for n in storage.names(self.parent) if n.startswith(self.prefix) and n.endswith(".json"))
        return sorted(int(name.removeprefix(self.prefix).removesuffix(".json")) for name in names)


@dataclass
class Lease:
    """A folder where this process alone writes, until `lost`."""

    place: Place
    number: int
    entry: Entry
    lost: bool = False

    def renew(self) -> None:
        """Write it anew, unless another driver has taken the folder over."""
        newest = _newest(self.place)
        self.lost = newest is None or newest[0] != self.number or not _is(newest[1], self.entry.owner)
        if not self.lost:
            self.entry = self.entry.renew()
            storage.write_whole(self.place.path(self.number), self.entry.content())

    def release(self) -> None:
        if not self.lost:
            for number in self.place.numbers():
                if number <= self.number:
                    storage.remove(self.place.path(number))


def holder(folder: Location, *, beside: bool = False) -> Entry | None:
    """The lease as it stands, whether its holder is alive or not."""
    newest = _newest(Place(folder, beside))
    return newest and newest[1]


@contextmanager
def leased(folder: Location, *, beside: bool = False) -> Iterator[Lease]:
    """Hold the folder for the length of the block; a thread renews the lease, which lies in the folder or beside it.

    Raises LeaseError when another driver holds it: at once where that is a process of this machine, otherwise after
    watching the lease for at most its length.
    """
    lease = _take(Place(folder, beside))
    ended = threading.Event()
    thread = threading.Thread(target=_keep, args=(lease, ended), name="lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join()
        try:
            lease.release()
        except StorageError as error:
            _log.warning("The lease stays behind and will be taken over: %s", error)


def _keep(lease: Lease, ended: threading.Event) -> None:
    while not lease.lost and not ended.wait(RENEWAL):
        try:
            lease.renew()
        except StorageError as error:
            _log.warning("The lease is not renewed: %s", error)


def _take(place: Place) -> Lease:
    before = _newest(place)
    if before is not None:
        _outlive(place, before)
    now, number = time.time(), before[0] + 1 if before else 1
    lease = Lease(place, number, Entry(Owner.this_process(), now, now, now + SECONDS))
    try:
        storage.write_new(place.path(number), lease.entry.content())
    except FileExistsError as error:
        raise _refusal(place, _newest(place)) from error
    newest = _newest(place)
    if newest is None or newest[0] != number:  # we were slow, and others have come and gone meanwhile
        raise _refusal(place, newest)
    for older in place.numbers():
        if older < number:
            storage.remove(place.path(older))
    return lease


def _outlive(place: Place, lease: "tuple[int, Entry | None]") -> None:
    """Return when the lease is dead. Raises LeaseError when it is not."""
    entry = lease[1]
    if entry is not None and entry.owner.is_gone:
        _log.warning("The last driver here, %s, is gone without a goodbye; its folder is taken over.", entry.owner.name)
        return
    if entry is not None and entry.owner.machine == Owner.this_process().machine:
        raise _refusal(place, lease)
    _log.warning("%s is leased; watching for %g s at most whether its driver is alive.", place.folder, SECONDS)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        time.sleep(min(1.0, SECONDS / 10))
        now = _newest(place)
        if now is None:
            return
        if now != lease:
            raise _refusal(place, now)


def _refusal(place: Place, lease: "tuple[int, Entry | None] | None") -> LeaseError:
    entry = lease and lease[1]
    who = f"{entry.owner.name} writes, since {_when(entry.taken)}" if entry else "another process has begun to write"
    return LeaseError(f"{place.folder} is one where {who}; wait for its end, stop it, or name another paths.out")


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _is(entry: Entry | None, owner: Owner) -> bool:
    return entry is not None and entry.owner == owner


def _newest(place: Place) -> "tuple[int, Entry | None] | None":
    """Number and content of the lease that counts."""
    for number in reversed(place.numbers()):
        try:
            return number, Entry.parse(storage.read(place.path(number)))
        except FileNotFoundError:
            continue
    return None


def _boot() -> str:
    """Names this boot of the machine or container; empty where /proc does not tell."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return f"{boot.read_text().strip()} {os.readlink(space)}" if boot.exists() and space.exists() else ""


def _start_of(pid: int) -> str:
    """When the process started, in the machine's ticks; empty for a process that has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state == "Z" else fields[18]

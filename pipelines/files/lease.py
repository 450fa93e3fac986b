"""The lease of an output folder: one process at a time writes there, on disks and in object stores alike.

Whoever wants the folder writes a file there, `lease-<token>.json`, with owner, time and expiry: a claim first, then one
that it holds. Its holder writes another every few seconds and then removes the former; none is ever written twice. All
do the same, write and then read, until it is decided:

- Who sees that another holds has lost. So has a claim that sees another claim whose name comes first.
- Who holds, or whose claim comes first, waits for the other claims to be withdrawn. Who sees no other, goes on.
- A file that is there for the length of a lease is dead, and that of an ended process of this machine at once. No
  clock is compared with another machine's.
- A holder trusts its lease for half that length since it last began to write and then read; then it does so again
  before it changes anything. `storage` asks before every change in the folder.

So two never hold at once. Of two that have written and then read, the later writer reads the file of the other, unless
that was dead; but a holder has stopped trusting its lease long before anyone can have seen its file for so long.
A name is never used twice, so that nothing that comes late, a write, its answer or a removal, touches another's file,
nor a newer one of who was dead and has come back.
"""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pipelines.errors import LeaseError, StorageError
from pipelines.files import storage
from pipelines.files.owner import Entry, Owner
from pipelines.files.storage import Location

SECONDS = 60.0  # how long a lease lasts that is not renewed
RENEWAL = 10.0
Leases = dict[str, Entry | None]  # by name of the file; None for one that is no lease

_log = logging.getLogger(__name__)


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

    def path(self, token: str) -> Location:
        return self.parent / f"{self.prefix}{token}.json"

    def holds(self, path: Location) -> bool:
        """Whether the lease is asked before that changes: the folder, what is in it, and what it is made in."""
        is_lease = path.parent == self.parent and path.name.startswith(self.prefix)
        return str(path).startswith(str(self.folder)) and not is_lease

    def leases(self) -> Leases:
        """All that are there now."""
        found: Leases = {}
        for name in storage.names(self.parent):
            if name.startswith(self.prefix) and name.endswith(".json"):
                with suppress(FileNotFoundError):
                    found[name] = Entry.parse(storage.read(self.parent / name))
        return found


@dataclass
class Lease:
    """A folder where this process alone writes, until `lost`."""

    place: Place
    entry: Entry  # the newest
    dead: set[str]  # names of what others have left there
    files: dict[str, Entry] = field(default_factory=dict)  # that it has written and not removed yet, by name
    sure: float = -math.inf  # when it last began to write and then read, by a clock that no one sets
    lost: bool = False
    trouble: BaseException | None = None  # by which the thread ended that renews it
    _renewing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def path(self) -> Location:
        """Its file."""
        return self.place.path(self.entry.owner.token)

    def renew(self, *, held: bool = True) -> None:
        """Write another file and read, until it is decided. Raises StorageError where the storage does not answer."""
        with self._renewing:
            began, former = now(), list(self.files)
            self.lost |= bool(former) and storage.names(self.place.parent).isdisjoint(former)
            if not self.lost:
                self.entry = self.entry.renew(SECONDS, held=held)
                self.files[self.path.name] = self.entry
                storage.write_whole(self.path, self.entry.content())
                self._decide()
                self.sure = began
                self._remove(former)

    def _remove(self, names: list[str]) -> None:
        for name in names:
            storage.remove(self.place.parent / name)
            del self.files[name]

    def _decide(self) -> None:
        waited_for, until = {}, math.inf
        while not self.lost:
            found = self.place.leases()
            others = {name: found[name] for name in found.keys() - self.dead - self.files.keys()}
            if self.path.name not in found or self._comes_after(others):
                self.lost = True
            elif not others:
                return
            elif others != waited_for:
                waited_for, until = others, now() + SECONDS
            elif now() >= until or are_gone(others):
                self.dead |= others.keys()
            else:
                time.sleep(min(0.1, SECONDS / 10))

    def _comes_after(self, others: Leases) -> bool:
        is_second = not self.entry.held and any(name < self.path.name for name in others)
        return is_second or any(entry is not None and entry.held for entry in others.values())

    def must_hold(self) -> None:
        """Raises LeaseError where the folder is another's, or nobody knows any more."""
        if self.trouble is not None:
            raise LeaseError(f"{self.place.folder}: its lease is not renewed any more ({self.trouble!r}); run it again")
        while not self.lost and now() - self.sure > SECONDS / 2:  # again, where it was frozen as it read
            self.renew()
        if self.lost:
            raise LeaseError(f"{self.place.folder} was taken over by another process; this one stops")

    def release(self) -> None:
        """Trust it no more, and remove its files, which are its own whatever has happened."""
        self.lost = True
        for entry in self.files.values():
            entry.owner.say_goodbye()
        self._remove(list(self.files))


def holder(folder: Location, *, beside: bool = False) -> Entry | None:
    """The lease as it stands, whether its holder is alive or not."""
    return _first(Place(folder, beside).leases())


@contextmanager
def leased(folder: Location, *, beside: bool = False) -> Iterator[Lease]:
    """Hold the folder for the length of the block; a thread renews the lease, which lies in the folder or beside it.

    Once it is lost, `storage` raises LeaseError before anything changes in the folder. Raises LeaseError when another
    driver holds it: at once where that is a process of this machine, otherwise after watching for at most its length.
    """
    lease = take(Place(folder, beside))
    ended = threading.Event()
    thread = threading.Thread(target=_keep, args=(lease, ended), name="lease", daemon=True)
    thread.start()
    try:
        with storage.fenced(lambda path: lease.must_hold() if lease.place.holds(path) else None):
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
        except BaseException as error:  # whatever it is, a run whose lease nobody renews must not go on
            lease.trouble = error
            return


def take(place: Place) -> Lease:
    """Raises LeaseError where another driver holds the folder, StorageError where the storage does not answer."""
    seen = place.leases()
    if seen:
        _outlive(place, seen)
    moment = time.time()
    lease = Lease(place, Entry(Owner.this_process(), moment, moment, moment + SECONDS, held=False), set(seen))
    try:
        lease.renew(held=False)
        lease.renew()
        for name in () if lease.lost else lease.dead:
            storage.remove(place.parent / name)
    except StorageError:
        with suppress(StorageError):
            lease.release()
        raise
    if lease.lost:
        lease.release()
        raise _refusal(place, place.leases())
    return lease


def _outlive(place: Place, seen: Leases) -> None:
    """Return when all these leases are dead. Raises LeaseError when one is not."""
    entries = [entry for entry in seen.values() if entry is not None]
    if are_gone(seen):
        last = entries[-1].owner.name
        _log.warning("The last driver here, %s, is gone without a goodbye; its folder is taken over.", last)
        return
    if any(entry.owner.is_here and not entry.owner.is_gone for entry in entries):
        raise _refusal(place, seen)
    _log.warning("%s is leased; watching for %g s at most whether its driver is alive.", place.folder, SECONDS)
    until = now() + SECONDS
    while now() < until:
        time.sleep(min(1.0, SECONDS / 10))
        found = place.leases()
        if not found:
            return
        if not found.keys() <= seen.keys():
            raise _refusal(place, found)


def are_gone(leases: Leases) -> bool:
    """Whether all are of processes of this machine that have ended."""
    return all(entry is not None and entry.owner.is_gone for entry in leases.values())


def _refusal(place: Place, leases: Leases) -> LeaseError:
    entry = _first(leases)
    who = f"{entry.owner.name} writes, since {_when(entry.taken)}" if entry else "another process has begun to write"
    return LeaseError(f"{place.folder} is one where {who}; wait for its end, stop it, or name another paths.out")


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _first(leases: Leases) -> Entry | None:
    """The one that is held or, where none is, a claim; None where there is no lease."""
    entries = [entry for entry in leases.values() if entry is not None]
    return max(entries, key=lambda entry: (entry.held, entry.renewed), default=None)


def now() -> float:
    """Seconds by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

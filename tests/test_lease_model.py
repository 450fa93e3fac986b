"""Every order of things that a lease may meet: hypothesis plays storage, clocks and scheduler for real drivers.

Three drivers run the very code of `pipelines.lease`, each in a thread that stops before every call to the storage.
What comes next is drawn: who goes on; whether the storage does it, fails, does it and loses the answer, or does it some
time later; how far the clock goes; when a driver changes something, renews, says goodbye, or is killed for good.
`python tests/test_lease_model.py 20000` says how many such orders it tried.
"""

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from pipelines import lease
from pipelines.errors import LeaseError, StorageError
from pipelines.lease import Lease, Place
from pipelines.owner import Owner

SECONDS = 6.0
PLACE = Place(Path("/model/dataset"))
Verdict = str  # "ok", "fails", "lost" (done, but its answer is not), "late" (done some time after it seemed to fail)
VERDICTS = ["ok"] * 6 + ["fails", "lost", "late"]
PHASES = [Phase.generate]  # what fails is told by its steps; making them fewer takes minutes
COMMANDS = ["touch", "renew", "release"]
DRIVERS, tried = 3, count()


class Killed(BaseException):
    """Ends a driver's thread where it is."""


@dataclass
class Driver:
    """A process: its code runs in a thread while everyone else waits."""

    world: "World"
    name: str
    held: Lease | None = None
    ended: bool = False
    command: str = ""  # what it does next, once it holds the folder
    verdict: Verdict = "ok"
    failure: AssertionError | None = None
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _back: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()
        self._back.acquire()

    def step(self, verdict: Verdict, command: str) -> None:
        """Let it go on to its next call."""
        if not self.ended:
            self.verdict, self.command = verdict, command
            self._go.release()
            self._back.acquire()

    def stop_here(self) -> Verdict:
        """In its own thread: let the others go on until it is told to."""
        self._back.release()
        self._go.acquire()
        if self.verdict == "kill":
            raise Killed
        return self.verdict

    def _run(self) -> None:
        _here.driver = self
        try:
            self.stop_here()
            self.held = lease.take(PLACE)
            while True:
                self.stop_here()
                self._obey(self.held)
        except (LeaseError, StorageError, Killed):
            pass
        except AssertionError as error:  # is raised again where hypothesis sees it
            self.failure = error
        finally:
            self.ended, self.held = True, None
            self._back.release()

    def _obey(self, held: Lease) -> None:
        if self.command == "touch":
            held.must_hold()
            self.world.touched_by(self)
        elif self.command == "renew":
            with suppress(StorageError):
                held.renew()
        elif self.command == "release":
            held.release()
            raise Killed


_here = threading.local()


@dataclass
class World:
    """A storage whose calls are done one at a time, and the clock of all machines."""

    files: dict[str, bytes] = field(default_factory=dict)
    time: float = 1000.0
    late: list[Callable[[], None]] = field(default_factory=list)
    drivers: list[Driver] = field(default_factory=list)

    def touched_by(self, driver: Driver) -> None:
        assert driver.held
        others = [other for other in self.drivers if other is not driver and other.held and not other.held.lost]
        trusting = [other.name for other in others if other.held and self.time - other.held.sure <= SECONDS / 2]
        assert not trusting, f"{driver.name} and {trusting} may both change it"

    def change(self, do: Callable[[], None]) -> None:
        match _here.driver.stop_here():
            case "ok":
                do()
            case "lost":
                do()
                raise StorageError("the answer is lost")
            case "late":
                self.late.append(do)
                raise StorageError("no answer")
            case _:
                raise StorageError("refused")

    def look(self, what: Callable[[], Any]) -> Any:
        if _here.driver.stop_here() == "fails":
            raise StorageError("no answer")
        return what()

    def storage(self) -> Any:
        def read(path: Path) -> bytes:
            content = self.look(lambda: self.files.get(path.name))
            if content is None:
                raise FileNotFoundError(path)
            return content

        return SimpleNamespace(
            names=lambda _: self.look(lambda: set(self.files)),
            read=read,
            write_whole=lambda path, content: self.change(lambda: self.files.update({path.name: content})),
            remove=lambda path: self.change(lambda: self.gone(path.name)),
        )

    def gone(self, name: str) -> None:
        self.files.pop(name, None)

    def sleep(self, seconds: float) -> None:
        wakes = self.time + seconds
        _here.driver.stop_here()
        self.time = max(self.time, wakes)


def owner_of_thread() -> Owner:
    return Owner(_here.driver.name, f"machine of {_here.driver.name}", "1 1", _here.driver.name)


class Leases(RuleBasedStateMachine):
    """Who trusts its lease may change the folder; never do two at once."""

    def __init__(self) -> None:
        super().__init__()
        next(tried)
        self.world, self.names = World(), count()
        clock = SimpleNamespace(
            sleep=self.world.sleep, time=lambda: 0.0, strftime=lambda *_: "", localtime=lambda _: ()
        )
        self.patches = [
            patch.object(lease, "SECONDS", SECONDS),
            patch.object(lease, "storage", self.world.storage()),
            patch.object(lease, "now", lambda: self.world.time),
            patch.object(lease, "time", clock),
            patch.object(lease, "_log", SimpleNamespace(warning=lambda *_: None)),
            patch.object(Owner, "this_process", owner_of_thread),
            patch.object(Owner, "is_here", False),
            patch.object(Owner, "is_gone", False),
        ]
        for each in self.patches:
            each.start()

    def _wrong_time(self) -> float:
        """Every clock on a wall is wrong, and jumps."""
        return (7919 * next(self.names)) % 1_000_003

    def driver(self, place: int) -> Driver:
        drivers = self.world.drivers
        while len(drivers) <= place:
            drivers.append(self._fresh())
        if drivers[place].ended:
            drivers[place] = self._fresh()
        return drivers[place]

    def _fresh(self) -> Driver:
        driver = Driver(self.world, f"driver {next(self.names)}")
        driver.start()
        return driver

    @rule(place=st.integers(0, DRIVERS - 1), verdict=st.sampled_from(VERDICTS))
    def one_call(self, place: int, verdict: Verdict) -> None:
        self._step(place, verdict, "renew")

    @rule(
        place=st.integers(0, DRIVERS - 1),
        calls=st.integers(2, 60),
        command=st.sampled_from(["touch", "renew", "release"]),
    )
    def many_calls(self, place: int, calls: int, command: str) -> None:
        driver = self.driver(place)
        for _ in range(calls):
            if driver.held and command == "release" and driver.ended:
                break
            self._step_of(driver, "ok", command)

    @rule(place=st.integers(0, DRIVERS - 1))
    def change(self, place: int) -> None:
        self._step(place, "ok", "touch")

    @rule(place=st.integers(0, DRIVERS - 1))
    def killed(self, place: int) -> None:
        self._step(place, "kill", "")

    @rule(seconds=st.floats(0.1, 2 * SECONDS))
    def wait(self, seconds: float) -> None:
        self.world.time += seconds

    @rule(which=st.integers(0, 5))
    def what_was_late_is_done(self, which: int) -> None:
        if which < len(self.world.late):
            with suppress(FileExistsError):
                self.world.late.pop(which)()

    def _step(self, place: int, verdict: Verdict, command: str) -> None:
        self._step_of(self.driver(place), verdict, command)

    def _step_of(self, driver: Driver, verdict: Verdict, command: str) -> None:
        driver.step(verdict, command)
        if driver.failure:
            raise driver.failure

    def teardown(self) -> None:
        for driver in self.world.drivers:
            driver.step("kill", "")
        for each in reversed(self.patches):
            each.stop()


def orders(examples: int) -> int:
    """Try so many; how many were tried indeed."""
    before = next(tried)
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    chosen = settings(
        max_examples=examples,
        stateful_step_count=40,
        phases=PHASES,
        deadline=None,
        suppress_health_check=checks,
        database=None,
    )
    run_state_machine_as_test(Leases, settings=chosen)
    return next(tried) - before - 1


def test_of_all_who_ask_for_a_folder_one_at_a_time_may_change_it() -> None:
    assert orders(200) >= 200


if __name__ == "__main__":
    print(f"{orders(int(sys.argv[1]))} orders of calls were tried")  # noqa: T201

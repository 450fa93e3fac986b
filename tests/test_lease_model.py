"""Every order of things that a lease may meet: hypothesis plays storage, clocks and scheduler for real drivers.

Three drivers run the code of `pipelines.files.lease`, each in a thread that stops before every call to the storage.
What comes next is drawn: who goes on; whether the storage does it, fails, does it and loses the answer, answers late,
or does it some time after it seemed to fail; how far time goes; when a driver renews, says goodbye, or is killed for
good. Each has a clock of its own that nobody sets, which goes up to a fifth too slow or a quarter too fast, and they
share one on the wall that jumps. The steps are such as bring drivers close together: several who ask in one instant,
one who begins while another is half-way, waits of just less and just more than a lease.

The laws: never do two trust at once. Once all is calm nobody waits for ever, and at most one holds the folder; who was
taken over does not disturb it. Where nothing was ever wrong, one holds it.
`python tests/test_lease_model.py 20000` says how many such orders it tried.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from pipelines.errors import LeaseError, StorageError
from pipelines.files import lease, owner
from pipelines.files.lease import Lease, Place
from pipelines.files.owner import Owner

SECONDS = 1.0
PLACE = Place(Path("/model/dataset"))
Verdict = str  # ok, fails, slow (its answer comes later), lost (its answer never does), late (done after it failed)
VERDICTS = ["fails", "lost", "late", "slow"]
SLOWLY = ["slow", *VERDICTS]
PHASES = [Phase.generate]  # what fails is told by its steps; making them fewer takes minutes
RATES = (1.0, 1.25, 0.8)  # of the drivers' clocks
SHORTLY = SECONDS / 100
WAITS = [SHORTLY, SECONDS / 4, 0.49 * SECONDS, 0.51 * SECONDS, 0.99 * SECONDS, 1.01 * SECONDS, 2 * SECONDS]
DRIVERS, tried = 3, count()

places = st.integers(0, DRIVERS - 1)
turns = st.lists(st.tuples(places, st.integers(1, 9)), min_size=1, max_size=8)  # who goes on, by how many calls
commands = st.sampled_from(["touch", "renew"])


class Killed(BaseException):
    """Ends a driver's thread where it is."""


@dataclass
class Driver:
    """A process: its code runs in a thread while everyone else waits."""

    world: "World"
    number: int
    held: Lease | None = None
    ended: bool = False
    command: str = ""  # what it does next, once it holds the folder
    verdict: Verdict = "ok"
    changes: bool = False  # at this moment
    is_idle: bool = False  # and not within a call
    is_asleep: bool = False
    to_do: str = ""  # "write" or "remove" where its next call changes the storage
    _files: Iterator[int] = field(default_factory=count)
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _back: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def name(self) -> str:
        """In no order, as the tokens of its files are drawn indeed, which begin with it."""
        return f"{self.number * 7919 % 1009:04d}"

    def token(self) -> str:
        """Another for each file."""
        return f"{self.name}-{next(self._files)}"

    @property
    def rate(self) -> float:
        return RATES[self.number % len(RATES)]

    @property
    def now(self) -> float:
        return 1000.0 * self.number + self.rate * self.world.time

    @property
    def trusts(self) -> bool:
        """Whether it would change the folder without another look."""
        return self.held is not None and not self.held.lost and self.now - self.held.sure <= SECONDS / 2

    def start(self) -> "Driver":
        threading.Thread(target=self._run, daemon=True).start()
        self._back.acquire()
        return self

    def step(self, verdict: Verdict, command: str) -> None:
        """Let it go on to its next call."""
        if not self.ended:
            self.verdict, self.command, self.changes = verdict, command, False
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
        with suppress(LeaseError, StorageError, Killed):
            self.stop_here()
            self.held = lease.take(PLACE)
            while True:
                self.is_idle = True
                self.stop_here()
                self.is_idle = False
                self._obey(self.held)
        self.ended, self.changes, self.held = True, False, None
        self._back.release()

    def _obey(self, held: Lease) -> None:
        if self.command == "touch":
            held.must_hold()
            self.changes = True
        elif self.command == "renew":
            with suppress(StorageError):
                held.renew()
        else:
            held.release()
            raise Killed


_here = threading.local()


@dataclass
class World:
    """A storage whose calls are done one at a time, and the clocks of all machines."""

    is_one_machine: bool = False  # on which they know of each other who has ended
    files: dict[str, bytes] = field(default_factory=dict)
    time: float = 0.0
    wall: float = 0.0
    late: list[Callable[[], object]] = field(default_factory=list)
    drivers: list[Driver] = field(default_factory=list)

    def change(self, kind: str, do: Callable[[], object]) -> None:
        _here.driver.to_do = kind
        verdict = _here.driver.stop_here()
        _here.driver.to_do = ""
        match verdict:
            case "fails":
                raise StorageError("refused")
            case "late":
                self.late.append(do)
                raise StorageError("no answer")
            case _:
                do()
                self._answer(verdict)

    def look(self, what: Callable[[], Any]) -> Any:
        verdict = _here.driver.stop_here()
        found = what()
        self._answer("lost" if verdict in ("fails", "late") else verdict)
        return found

    def _answer(self, verdict: Verdict) -> None:
        if verdict == "slow":
            verdict = _here.driver.stop_here()
        if verdict == "lost":
            raise StorageError("the answer is lost")

    def storage(self) -> Any:
        """What stands for `pipelines.files.storage`."""
        return SimpleNamespace(
            names=lambda _: self.look(lambda: set(self.files)),
            read=lambda path: self.look(lambda: self.content(path.name)),
            write_whole=lambda path, content: self.change("write", lambda: self.files.update({path.name: content})),
            remove=lambda path: self.change("remove", lambda: self.files.pop(path.name, None)),
        )

    def content(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def has_file_of(self, driver: Driver) -> bool:
        return any(name.startswith(f"lease-{driver.name}-") for name in self.files)

    def sleep(self, seconds: float) -> None:
        driver = _here.driver
        wakes = self.time + seconds / driver.rate
        driver.is_asleep = True
        driver.stop_here()
        driver.is_asleep = False
        self.time = max(self.time, wakes)

    def is_here(self, asked: Owner) -> bool:
        return self.is_one_machine

    def is_gone(self, asked: Owner) -> bool:
        living = {driver.name for driver in self.drivers if not driver.ended}
        return self.is_one_machine and asked.token.partition("-")[0] not in living

    def replaced(self) -> ExitStack:
        """Until it is closed, all that a lease asks is asked here."""
        stack = ExitStack()
        clock = SimpleNamespace(
            sleep=self.sleep, time=lambda: self.wall, strftime=lambda *_: "", localtime=lambda _: ()
        )
        for place, name, replacement in (
            (lease, "SECONDS", SECONDS),
            (lease, "storage", self.storage()),
            (lease, "now", lambda: _here.driver.now),
            (lease, "time", clock),
            (owner, "time", clock),
            (lease, "_log", SimpleNamespace(warning=lambda *_: None)),
            (owner, "secrets", SimpleNamespace(token_hex=lambda _: _here.driver.token())),
            (Owner, "this_process", lambda: Owner("a driver", "a machine", "1 1", _here.driver.token())),
            (Owner, "is_here", property(self.is_here)),
            (Owner, "is_gone", property(self.is_gone)),
        ):
            stack.enter_context(patch.object(place, name, replacement))
        return stack


class Leases(RuleBasedStateMachine):
    """The steps, of which hypothesis draws some orders."""

    def __init__(self) -> None:
        super().__init__()
        next(tried)
        self.world, self.numbers = World(), count()
        self.has_failed, self.is_smooth = False, True  # whether nothing was ever wrong
        self.replaced = self.world.replaced()

    @initialize(is_one_machine=st.booleans(), holder=st.booleans())
    def somebody_may_hold_it(self, is_one_machine: bool, holder: bool) -> None:
        self.world.is_one_machine = is_one_machine
        self.world.drivers = [self._fresh() for _ in range(DRIVERS)]
        while holder and self.world.drivers[0].held is None:
            self._step(self.world.drivers[0], "ok", "renew")

    @rule(first=places, second=places, order=st.lists(st.booleans(), min_size=8, max_size=40))
    def two_in_one_instant(self, first: int, second: int, order: list[bool]) -> None:
        pair = self._driver(first), self._driver(second)
        for which in order:
            self._step(pair[which], "ok", "touch")

    @rule(turns=turns, command=commands)
    def in_turns(self, turns: list[tuple[int, int]], command: str) -> None:
        for place, calls in turns:
            for _ in range(calls):
                self._step(self._driver(place), "ok", command)

    @rule(place=places, calls=st.integers(10, 60), command=commands)
    def one_goes_on(self, place: int, calls: int, command: str) -> None:
        driver = self._driver(place)
        for _ in range(calls):
            self._step(driver, "ok", command)

    @rule(place=places, verdict=st.sampled_from(VERDICTS), after=st.integers(0, 4), command=commands)
    def a_call_goes_wrong(self, place: int, verdict: Verdict, after: int, command: str) -> None:
        self._wrong(place, verdict, after, command)

    def _wrong(self, place: int, verdict: Verdict, after: int, command: str) -> None:
        for each in [*["ok"] * after, verdict]:
            self._step(self._driver(place), each, command)

    @rule(place=places, other=places, after=st.integers(0, 9), calls=st.integers(10, 60), then=st.integers(1, 20))
    def one_is_frozen(self, place: int, other: int, after: int, calls: int, then: int) -> None:
        """Where an answer was to come, and it had to look again; meanwhile another may take the folder over."""
        self.world.time += 0.7 * SECONDS
        self._wrong(place, "slow", after, "touch")
        self.one_goes_on(other, calls, "touch")
        self.in_turns([(place, 9), (other, then)], "touch")

    @rule(place=places, other=places, is_first=st.booleans(), verdict=st.sampled_from(SLOWLY), then=st.integers(1, 20))
    def two_meet_at_a_write(self, place: int, other: int, is_first: bool, verdict: Verdict, then: int) -> None:
        """Of one it goes this way, and another comes to a write of its own before or after it, and writes."""
        if not is_first:
            self._to_a_write(other)
        self._to_a_write(place)
        self._step(self._driver(place), verdict, "renew")
        if is_first:
            self._to_a_write(other)
        self.in_turns([(place, 9), (other, then)], "touch")

    @rule(place=places, other=places, which=st.integers(0, 2), calls=st.integers(1, 9), then=st.integers(1, 20))
    def a_removal_comes_late(self, place: int, other: int, which: int, calls: int, then: int) -> None:
        """Of the file of one who seemed dead and has come back, by another who took the folder over and has left."""
        self.world.time += 1.3 * SECONDS
        for _ in range(which):
            self._to_a_write(other, ("remove",))
            self._step(self._driver(other), "ok", "renew")
        self._to_a_write(other, ("remove",))
        self.in_turns([(place, calls)], "renew")
        self._step(self._driver(other), "late", "renew")
        self.in_turns([(other, 2), (place, calls)], "renew")
        self.what_was_late_is_done(len(self.world.late) - 1)
        self.in_turns([(other, then)], "touch")

    def _to_a_write(self, place: int, kinds: tuple[str, ...] = ("write", "remove")) -> None:
        """Let it go on to where it writes or removes a file, if it does."""
        driver = self._driver(place)
        for _ in range(60):
            if driver.to_do in kinds or driver.ended:
                return
            self._step(driver, "ok", "renew")

    @rule(place=places)
    def goodbye(self, place: int) -> None:
        self.is_smooth = False
        for _ in range(2):
            self._step(self._driver(place), "ok", "release")

    @rule(place=places)
    def killed(self, place: int) -> None:
        self._step(self._driver(place), "kill", "")

    @rule(seconds=st.sampled_from(WAITS))
    def time_goes_on(self, seconds: float) -> None:
        self.world.time += seconds

    @rule(wall=st.sampled_from([0.0, 0.0, 5.0, -1e6, 1e9]))
    def the_clock_on_the_wall_jumps(self, wall: float) -> None:
        self.world.wall = wall

    @rule(which=st.integers(0, 5))
    def what_was_late_is_done(self, which: int) -> None:
        if 0 <= which < len(self.world.late):
            self.world.late.pop(which)()

    def _driver(self, place: int) -> Driver:
        """The one in that place, or the next one who asks for the folder there."""
        drivers = self.world.drivers
        if drivers[place].ended:
            drivers[place] = self._fresh()
        return drivers[place]

    def _fresh(self) -> Driver:
        return Driver(self.world, next(self.numbers)).start()

    def _step(self, driver: Driver, verdict: Verdict, command: str) -> None:
        self.is_smooth &= verdict in ("ok", "slow")
        driver.step(verdict, command)
        trusting = [each.name for each in self.world.drivers if each.trusts or (each is driver and each.changes)]
        self.must(len(trusting) <= 1, f"{' and '.join(trusting)} may change it at once")

    def must(self, holds: bool, otherwise: str) -> None:
        self.has_failed |= not holds
        assert holds, otherwise

    def teardown(self) -> None:
        try:
            if not self.has_failed:
                self._calm()
        finally:
            for driver in self.world.drivers:
                driver.step("kill", "")
            self.replaced.close()

    def _calm(self) -> None:
        """Nothing goes wrong any more, and all go on."""
        self.is_smooth &= self.world.time < SECONDS / 2
        undisturbed = self._undisturbed()
        for late in self.world.late:
            late()
        end = self.world.time + 12 * SECONDS
        while any(not (driver.ended or driver.trusts) for driver in self.world.drivers):
            self.must(self.world.time < end, "some wait for ever, or two take turns")
            for driver in self.world.drivers:
                self._wakes(driver)
            self.world.time += SECONDS / 200
        self.must(undisturbed is None or undisturbed.trusts, "who was taken over has disturbed who did it")
        holders = sum(driver.trusts for driver in self.world.drivers)
        self.must(
            holders == 1 or not (self.is_smooth and self.world.drivers), "nobody got it, though nothing was wrong"
        )

    def _wakes(self, driver: Driver) -> None:
        """It does what it can until it sleeps again; all its calls take no longer than others sleep."""
        for _ in range(30):
            self._step(driver, "ok", "touch")
            if driver.is_asleep or driver.ended:
                return

    def _undisturbed(self) -> Driver | None:
        """Who holds it alone, so that the others only need to find that they have lost it."""
        alone = [driver for driver in self.world.drivers if driver.trusts]
        others = [driver for driver in self.world.drivers if not (driver.trusts or driver.ended)]
        has_left = all(other.is_idle and not self.world.has_file_of(other) for other in others)
        stays = bool(alone) and alone[0].command != "release"
        return alone[0] if stays and has_left and not self.world.late else None


def orders(examples: int, *, are_same: bool = False) -> int:
    """Try so many, each time others or the same; how many were tried indeed."""
    before = next(tried)
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    chosen = settings(
        max_examples=examples,
        stateful_step_count=20,
        phases=PHASES,
        deadline=None,
        suppress_health_check=checks,
        database=None,
        derandomize=are_same,
    )
    try:
        run_state_machine_as_test(Leases, settings=chosen)
    except BaseException as error:
        error.add_note(f"order {next(tried) - before - 1}")
        raise
    return next(tried) - before - 1


def test_of_all_who_ask_for_a_folder_one_at_a_time_may_change_it() -> None:
    assert orders(200, are_same=True) >= 200


if __name__ == "__main__":
    print(f"{orders(int(sys.argv[1]))} orders of calls were tried")  # noqa: T201

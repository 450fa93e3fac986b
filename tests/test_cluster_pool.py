import gc
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest
import ray
from conftest import wait_for

from cluster import ClusterError, Crew, Done, Failed, Limits, Resources, Stop, run_units

pytestmark = pytest.mark.usefixtures("ray_cluster")

ONE_CORE = Resources(cpus=1)


@dataclass(frozen=True)
class Squares:
    """Makes the square of a unit; each tuple names the units to which something happens on their way."""

    notes: Path
    raises: tuple[int, ...] = ()
    raises_once: tuple[int, ...] = ()
    kills: tuple[int, ...] = ()
    kills_once: tuple[int, ...] = ()
    waits: tuple[int, ...] = ()
    unpicklable: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    builds: tuple[float, ...] = ()  # seconds that the first build takes, the second, ...
    spoiled: int | None = None  # the GPU on which everything raises
    raises_late: bool = False  # there, once "go" is noted

    def __call__(self) -> Callable[[int], Any]:
        self.note("built")
        earlier = len(self.noted("built")) - 1
        time.sleep(self.builds[earlier] if earlier < len(self.builds) else 0)
        return self.make

    def make(self, unit: int) -> Any:
        first = not self.noted(f"made-{unit}")
        self.note(f"made-{unit}")
        if unit in self.raises or (unit in self.raises_once and first):
            raise ArithmeticError(f"{unit} has no square today")
        if unit in self.kills or (unit in self.kills_once and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if unit in self.ends:
            raise TimeoutError("the disk is full")
        if self.spoiled is not None and ray.get_gpu_ids() == [self.spoiled]:
            self.note("broken")
            wait_for(lambda: not self.raises_late or self.noted("go"))
            raise ArithmeticError("this GPU is broken")
        if self.spoiled is not None:
            wait_for(lambda: self.noted("broken"))
            time.sleep(0.05)
        while unit in self.waits and not (self.notes / "go").exists():
            time.sleep(0.02)
        return threading.Lock() if unit in self.unpicklable else unit * unit

    def note(self, event: str) -> None:
        with (self.notes / event).open("a") as file:
            file.write(f"{os.getpid()}\n")

    def noted(self, event: str) -> list[int]:
        """The processes in which it happened."""
        file = self.notes / event
        return [int(line) for line in file.read_text().split()] if file.exists() else []


@dataclass(frozen=True)
class Environment:
    names: tuple[str, ...]

    def __call__(self) -> Callable[[int], list[str | None]]:
        return lambda unit: [os.environ.get(name) for name in self.names]


def squares_in_memory() -> Callable[[int], int]:
    return lambda unit: unit * unit


def raise_while_building() -> Callable[[int], int]:
    raise FileNotFoundError("no weights at /nowhere.pt")


def die_while_building() -> Callable[[int], int]:
    os._exit(3)


@pytest.fixture(autouse=True)
def short_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.places.BACK_OFF", 0.01)


@pytest.fixture
def squares(tmp_path: Path) -> Squares:
    return Squares(tmp_path)


def done(outcomes: list[Done[Any] | Failed]) -> dict[int, Any]:
    return {outcome.unit: outcome.result for outcome in outcomes if isinstance(outcome, Done)}


def failed(outcomes: list[Done[Any] | Failed]) -> list[Failed]:
    return [outcome for outcome in outcomes if isinstance(outcome, Failed)]


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_every_unit_comes_back_once_with_its_result_and_each_actor_builds_once(squares: Squares) -> None:
    outcomes = list(run_units(squares, range(100, 140), actors=2, resources=ONE_CORE))
    assert sorted(outcome.unit for outcome in outcomes) == list(range(100, 140))
    assert done(outcomes) == {unit: unit * unit for unit in range(100, 140)}
    assert {outcome.attempts for outcome in outcomes} == {1}
    assert len(squares.noted("built")) == len(set(squares.noted("built"))) <= 2


def test_no_units_need_no_actor(squares: Squares) -> None:
    assert list(run_units(squares, [], actors=2, resources=ONE_CORE)) == []
    assert not squares.noted("built")


def test_units_are_read_only_as_actors_become_free(squares: Squares) -> None:
    read: list[int] = []

    def endless() -> Iterator[int]:
        for unit in count():
            read.append(unit)
            yield unit

    outcomes = run_units(squares, endless(), actors=2, resources=ONE_CORE)
    assert len([next(outcomes) for _ in range(6)]) == 6
    outcomes.close()
    assert len(read) <= 6 + 2 * 2


def test_results_do_not_wait_for_the_slowest(squares: Squares) -> None:
    outcomes = run_units(replace(squares, waits=(0,)), range(8), actors=2, resources=ONE_CORE)
    assert 0 not in {next(outcomes).unit for _ in range(7)}
    squares.note("go")
    assert [outcome.unit for outcome in outcomes] == [0]


def test_a_unit_whose_code_raises_is_tried_again_then_failed_while_the_others_finish(squares: Squares) -> None:
    builder = replace(squares, raises=(3,), raises_once=(4,))
    outcomes = list(run_units(builder, range(8), actors=2, resources=ONE_CORE, retries=1))
    assert sorted(done(outcomes)) == [0, 1, 2, 4, 5, 6, 7]
    assert {outcome.unit: outcome.attempts for outcome in outcomes if outcome.attempts > 1} == {3: 2, 4: 2}
    (failure,) = failed(outcomes)
    assert failure.reason == "ArithmeticError: 3 has no square today"
    assert 'raise ArithmeticError(f"{unit} has no square today")' in failure.traceback
    assert len(squares.noted("built")) <= 2, "an actor outlives an exception"


def test_a_result_that_cannot_travel_fails_its_unit(squares: Squares) -> None:
    outcomes = list(run_units(replace(squares, unpicklable=(1,)), range(3), actors=1, resources=ONE_CORE, retries=0))
    assert sorted(done(outcomes)) == [0, 2]
    (failure,) = failed(outcomes)
    assert "cannot pickle '_thread.lock' object" in failure.reason


def test_an_actor_killed_in_the_middle_of_a_unit_is_replaced_and_the_unit_made(squares: Squares) -> None:
    outcomes = list(run_units(replace(squares, kills_once=(2,)), range(5), actors=1, resources=ONE_CORE))
    assert done(outcomes) == {unit: unit * unit for unit in range(5)}
    first, second = squares.noted("made-2")
    assert first != second
    assert len(squares.noted("built")) == 2


def test_a_unit_that_always_kills_its_process_is_failed_and_the_rest_finishes(squares: Squares) -> None:
    outcomes = list(run_units(replace(squares, kills=(2,)), range(6), actors=2, resources=ONE_CORE, retries=1))
    assert sorted(done(outcomes)) == [0, 1, 3, 4, 5]
    (failure,) = failed(outcomes)
    assert (failure.unit, failure.attempts, len(squares.noted("made-2"))) == (2, 2, 2)
    assert "its process was lost" in failure.reason


def test_a_builder_that_raises_stops_the_run_with_its_reason() -> None:
    with pytest.raises(ClusterError, match=r"builder raised FileNotFoundError: no weights at /nowhere\.pt") as caught:
        list(run_units(raise_while_building, range(4), actors=1, resources=ONE_CORE))
    assert "in raise_while_building" in "".join(caught.value.__notes__)


def test_a_builder_that_keeps_dying_stops_the_run() -> None:
    with pytest.raises(ClusterError, match="3 actors in a row died while they were built"):
        list(run_units(die_while_building, range(4), actors=1, resources=ONE_CORE))


def test_actors_that_no_machine_can_hold_stop_the_run_after_some_patience(squares: Squares) -> None:
    outcomes = run_units(squares, range(4), actors=1, resources=Resources(gpus=3), limits=Limits(patience=0.1))
    with pytest.raises(ClusterError, match=r"No machine of the cluster can hold one actor.*gpus=3"):
        list(outcomes)


def test_after_a_stop_no_further_unit_is_handed_out_and_the_current_ones_are_finished(squares: Squares) -> None:
    stop = Stop()
    outcomes = run_units(replace(squares, waits=(1, 2)), range(9), actors=2, resources=ONE_CORE, stop=stop)
    assert next(outcomes).unit == 0
    wait_for(lambda: squares.noted("made-1"))
    stop.requested = True
    squares.note("go")
    made = {outcome.unit for outcome in outcomes}
    assert made == {unit for unit in range(1, 9) if squares.noted(f"made-{unit}")}
    assert 1 in made
    assert made <= {1, 2}


def test_a_unit_that_hangs_is_ended_tried_again_and_failed_while_the_others_finish(squares: Squares) -> None:
    builder = replace(squares, waits=(1,))
    limits = Limits(unit=3.0)
    outcomes = list(run_units(builder, range(4), actors=2, resources=ONE_CORE, retries=1, limits=limits))
    assert sorted(done(outcomes)) == [0, 2, 3]
    (failure,) = failed(outcomes)
    assert (failure.unit, failure.attempts) == (1, 2)
    assert failure.reason == "it took longer than the 3 s it may take"
    wait_for(lambda: not any(is_running(pid) for pid in squares.noted("made-1")))


def test_an_actor_whose_build_hangs_is_replaced(squares: Squares) -> None:
    builder, limits = replace(squares, builds=(1000,)), Limits(start=10)
    outcomes = run_units(builder, range(2), actors=1, resources=ONE_CORE, limits=limits)
    assert sorted(done(list(outcomes))) == [0, 1]
    assert len(squares.noted("built")) == 2


def test_a_build_may_take_longer_than_a_unit(squares: Squares) -> None:
    builder, limits = replace(squares, builds=(1.5,)), Limits(unit=0.5)
    outcomes = list(run_units(builder, range(2), actors=1, resources=ONE_CORE, limits=limits))
    assert sorted(done(outcomes)) == [0, 1]
    assert squares.noted("built")[0] == squares.noted("made-0")[0]  # though a busy machine may end it in a unit


def test_an_exception_that_ends_the_run_is_not_tried_again(squares: Squares) -> None:
    builder, limits = replace(squares, ends=(2,)), Limits(ends=(TimeoutError,))
    outcomes = run_units(builder, range(9), actors=1, resources=ONE_CORE, limits=limits)
    with pytest.raises(ClusterError, match="stopped by unit 2: TimeoutError: the disk is full"):
        list(outcomes)
    assert len(squares.noted("made-2")) == 1
    assert not squares.noted("made-3")


def test_after_a_stop_the_current_units_have_the_grace_and_no_more(squares: Squares) -> None:
    stop = Stop()
    outcomes = run_units(
        replace(squares, waits=(1,)), range(4), actors=1, resources=ONE_CORE, stop=stop, limits=Limits(grace=0.5)
    )
    assert next(outcomes).unit == 0
    wait_for(lambda: squares.noted("made-1"))
    stop.requested, begin = True, time.monotonic()
    assert list(outcomes) == []
    assert 0.4 < time.monotonic() - begin < 20


def test_one_broken_gpu_costs_no_unit(squares: Squares) -> None:
    """It fails fast, so it would draw unit after unit if those were not tried again elsewhere, and it not rested."""
    resources = Resources(cpus=0.5, gpus=1)
    outcomes = list(run_units(replace(squares, spoiled=1), range(24), actors=2, resources=resources))
    assert sorted(done(outcomes)) == list(range(24))
    assert {outcome.attempts for outcome in outcomes} == {1, 2}


def test_what_fails_when_nothing_is_left_to_do_is_tried_again_elsewhere(squares: Squares) -> None:
    builder, resources = replace(squares, spoiled=1, raises_late=True), Resources(cpus=0.5, gpus=1)
    outcomes = run_units(builder, range(2), actors=2, resources=resources, retries=1)
    first = next(outcomes)
    squares.note("go")
    outcomes = [first, *outcomes]
    assert sorted(done(outcomes)) == [0, 1]
    assert [outcome.attempts for outcome in outcomes] == [1, 2]


def test_without_a_number_there_are_as_many_actors_as_there_is_room_for(squares: Squares) -> None:
    crew = Crew()
    outcomes = run_units(
        replace(squares, waits=(0, 1, 2, 3)),
        range(9),
        actors=None,
        resources=Resources(cpus=0.5, gpus=0.5),
        crew=crew,
    )
    watching = threading.Thread(target=lambda: (wait_for(lambda: len(squares.noted("built")) == 4), squares.note("go")))
    watching.start()
    assert len([next(outcomes) for _ in range(4)]) == 4
    assert crew.alive == 4
    assert len(list(outcomes)) == 5
    watching.join()
    assert (crew.alive, crew.waiting) == (0, 0)


def test_ten_thousand_units_are_supervised_in_seconds_and_flat_memory() -> None:
    """Python's own memory is counted to the byte. That of the process, with Ray's, also grows once in a while for the
    allocator's sake; what is kept of each unit makes it grow in most of four parts."""
    begin, driver = time.monotonic(), psutil.Process()
    outcomes = run_units(squares_in_memory, range(10_000), actors=4, resources=ONE_CORE)
    tracemalloc.start()
    try:
        assert sum(1 for _ in islice(outcomes, 1_900)) == 1_900
        early_traced, sizes = traced_memory(), [driver.memory_info().rss]
        for _ in range(4):
            assert sum(1 for _ in islice(outcomes, 2_000)) == 2_000
            sizes.append(driver.memory_info().rss)
        assert traced_memory() - early_traced < 100_000  # measured: 0; 950,000 when a call is kept of each unit
        growth = median(after - before for before, after in pairwise(sizes))
        assert growth < 2 * 2**20  # measured: 0.2 to 0.8; 6 to 7 then
    finally:
        tracemalloc.stop()
    assert sum(1 for _ in outcomes) == 100
    assert time.monotonic() - begin < 120


def traced_memory() -> int:
    """Bytes of all that Python holds."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_closing_the_iterator_leaves_no_actor_behind(squares: Squares) -> None:
    outcomes = run_units(replace(squares, waits=(1,)), range(3), actors=2, resources=ONE_CORE)
    next(outcomes)
    wait_for(lambda: squares.noted("made-1"))
    pids = squares.noted("built")
    assert any(is_running(pid) for pid in pids)
    outcomes.close()
    wait_for(lambda: not any(is_running(pid) for pid in pids))


@pytest.mark.parametrize(
    ("resources", "threads", "gpus"),
    [(Resources(cpus=2.5), "2", {""}), (Resources(cpus=0.5, gpus=1), "1", {"0", "1"})],
)
def test_an_actor_has_as_many_threads_as_cores_and_sees_its_own_gpus(
    resources: Resources, threads: str, gpus: set[str]
) -> None:
    (outcome,) = run_units(Environment(("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")), [0], actors=1, resources=resources)
    assert isinstance(outcome, Done)
    assert outcome.result[0] == threads
    assert outcome.result[1] in gpus


def test_without_a_connection_the_remedy_is_named(squares: Squares, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ClusterError, match="inside `with connect"):
        run_units(squares, range(4), actors=1, resources=ONE_CORE)


def test_a_pool_without_actors_is_refused(squares: Squares) -> None:
    with pytest.raises(ValueError, match="At least 1 actor"):
        run_units(squares, range(4), actors=0, resources=ONE_CORE)

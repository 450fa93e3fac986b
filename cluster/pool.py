"""Units over actors: a small supervised pool that outlives its processes.

Each actor has at most one unit in flight, and gets its first only after its own build has come back, so that a lost
process costs one unit and never a queue. Ray restarts and retries nothing itself: whoever restarts decides what is
tried again, and how often. A unit may be begun more than once; that it counts once is the business of its storage.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

import ray

from cluster.actor import Actor, Answer, Lost, Made, Order, Raised, answer_of
from cluster.runtime import ClusterError, Resources, room_for
from cluster.stopping import Stop

T = TypeVar("T")

_STARTS = 3  # deaths in a row, of one place's actors while they build, that end a run in which nothing works
_BACK_OFF = 0.5  # seconds before a lost actor is replaced; doubled by every start that fails
_BACK_OFF_MOST = 30.0
_HEARTBEAT = 1.0  # seconds after which the driver looks at its stop flag though no actor has answered

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done(Generic[T]):
    """A unit that was made: the seconds are those of the try that succeeded, the attempts count it."""

    unit: int
    result: T
    seconds: float
    attempts: int


@dataclass(frozen=True)
class Failed:
    """A unit that was given up: the reason, in a sentence, and the traceback are those of its last attempt."""

    unit: int
    reason: str
    traceback: str
    attempts: int


def run_units(
    builder: Callable[[], Callable[[int], T]],
    units: Iterable[int],
    *,
    actors: int,
    resources: Resources,
    retries: int = 2,
    stop: Stop | None = None,
    patience: float = 120.0,
) -> Generator[Done[T] | Failed, None, None]:
    """Make every unit on one of `actors` processes, each of which builds once; outcomes come as they are completed.

    `builder` is pickled and called in each process; what it returns makes one unit and returns a small result.
    OMP_NUM_THREADS is the actor's number of cores before anything of the builder is imported.
    `units` is read as actors become free. A unit that raises, or whose process dies, is tried `retries` times more.
    Once `stop` is requested no further unit is handed out, the current ones are finished, and the iterator ends:
    a unit of which nothing was heard is unmade. Closing the iterator ends its actors at once.

    ClusterError: the builder raised; actors keep dying before they are built; or after `patience` seconds
    no machine of the cluster can hold even one.
    """
    if actors < 1 or retries < 0:
        raise ValueError(f"At least 1 actor and 0 retries are needed, these are {actors} and {retries}.")
    if not ray.is_initialized():
        raise ClusterError("There is no connection to Ray: call run_units inside `with connect():`.")
    if (room := room_for(resources)) < actors:
        _log.warning("The cluster has room for %d of %d actors, the others wait for machines to join.", room, actors)
    order, places = Order.of(builder, resources), [_Place() for _ in range(actors)]
    pool: _Pool[T] = _Pool(order, iter(units), places, retries + 1, stop or Stop(), patience)
    return pool.outcomes()


@dataclass(frozen=True)
class _Trial:
    unit: int
    attempt: int = 1


@dataclass
class _Place:
    """Where one actor at a time works: vacant without an actor, building without a trial, else making that trial."""

    actor: Any = None  # Ray types the handle of an actor as one whose every attribute is Never
    trial: _Trial | None = None
    failed_starts: int = 0
    start_at: float = 0.0


@dataclass
class _Pool(Generic[T]):
    order: Order
    units: Iterator[int]
    places: list[_Place]
    tries: int
    stop: Stop
    patience: float
    waiting: deque[_Trial] = field(default_factory=deque)
    calls: dict[ray.ObjectRef, _Place] = field(default_factory=dict)  # oldest first: no actor is overlooked
    patience_ends: float | None = None

    def outcomes(self) -> Generator[Done[T] | Failed, None, None]:
        self.patience_ends = time.monotonic() + self.patience
        try:
            self._fill_places()
            while self._has_waiting(1) or any(place.trial for place in self.places):
                outcome = self._next_outcome()
                self._fill_places()
                if outcome is not None:
                    yield outcome
        finally:
            for place in self.places:
                self._vacate(place)

    def _has_waiting(self, count: int) -> bool:
        """Whether at least so many units are there to be handed out; reads no more of them than that."""
        if self.stop.requested:
            return False
        missing = count - len(self.waiting)
        self.waiting.extend(_Trial(unit) for unit in islice(self.units, max(0, missing)))
        return len(self.waiting) >= count

    def _fill_places(self) -> None:
        """Start an actor in every vacant place whose back-off is over, as long as there is a unit for it."""
        building = sum(place.actor is not None and place.trial is None for place in self.places)
        for place in self.places:
            if place.actor is None and place.start_at <= time.monotonic() and self._has_waiting(building + 1):
                self._start_actor(place)
                building += 1

    def _start_actor(self, place: _Place) -> None:
        wanted = self.order.resources
        place.actor = (
            ray.remote(Actor)
            .options(
                num_cpus=wanted.cpus,
                num_gpus=wanted.gpus,
                memory=wanted.memory,
                max_restarts=0,
                max_task_retries=0,
            )
            .remote()
        )
        self.calls[place.actor.build.remote(self.order)] = place

    def _next_outcome(self) -> Done[T] | Failed | None:
        """Wait for an actor's answer and act on it; None when it ended no unit, or none came for a while."""
        self._lose_patience()
        pause = self._pause()
        if not self.calls:
            time.sleep(pause)
            return None
        ready, _ = ray.wait(list(self.calls), num_returns=1, timeout=pause, fetch_local=False)
        if not ready:
            return None
        place, answer = self.calls.pop(ready[0]), answer_of(ready[0])
        outcome = self._after_build(place, answer) if place.trial is None else self._after_trial(place, answer)
        self._hand_out(place)
        return outcome

    def _pause(self) -> float:
        now = time.monotonic()
        starts = [place.start_at - now for place in self.places if place.actor is None and place.start_at > now]
        return min([_HEARTBEAT, *starts])

    def _after_build(self, place: _Place, answer: Answer) -> None:
        match answer:
            case Raised(reason, details):
                error = ClusterError(f"No actor can be built, the builder raised {reason}")
                error.add_note(details)
                raise error
            case Lost(reason):
                place.failed_starts += 1
                self._vacate(place)
                _log.warning("An actor died while it was built (%d in a row): %s", place.failed_starts, reason)
                if place.failed_starts >= _STARTS and not any(other.trial for other in self.places):
                    raise ClusterError(f"{_STARTS} actors in a row died while they were built, the last: {reason}")
            case _:
                place.failed_starts = 0
                self.patience_ends = None

    def _after_trial(self, place: _Place, answer: Answer) -> Done[T] | Failed | None:
        trial, place.trial = place.trial, None
        assert trial is not None, "an actor without a unit has made one"
        match answer:
            case Made(result, seconds):
                return Done(trial.unit, result, seconds, trial.attempt)
            case Lost(reason, details):
                self._vacate(place)
            case Raised(reason, details):
                pass
            case _:
                raise AssertionError("an actor was built twice")
        if trial.attempt >= self.tries:
            return Failed(trial.unit, reason, details, trial.attempt)
        _log.warning("Unit %d, attempt %d of %d: %s", trial.unit, trial.attempt, self.tries, reason)
        self.waiting.append(_Trial(trial.unit, trial.attempt + 1))
        return None

    def _hand_out(self, place: _Place) -> None:
        """Give a free actor its next unit, or let it go: what is tried again finds an actor that is alive for sure."""
        if place.actor is None:
            return
        if not self._has_waiting(1):
            self._vacate(place)
            return
        place.trial = self.waiting.popleft()
        self.calls[place.actor.make.remote(place.trial.unit)] = place

    def _vacate(self, place: _Place) -> None:
        if place.actor is not None and ray.is_initialized():
            ray.kill(place.actor)
        self.calls = {call: other for call, other in self.calls.items() if other is not place}
        place.actor = place.trial = None
        place.start_at = time.monotonic() + min(_BACK_OFF_MOST, _BACK_OFF * 2**place.failed_starts)

    def _lose_patience(self) -> None:
        if self.patience_ends is None or time.monotonic() < self.patience_ends:
            return
        if room_for(self.order.resources) == 0:
            raise ClusterError(f"No machine of the cluster can hold one actor, each asks for {self.order.resources}.")

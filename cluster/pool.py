"""Units over actors: a small supervised pool that outlives its processes.

Each actor has at most one unit in flight, and gets its first only after its own build has come back, so that a lost
process costs one unit and never a queue. Ray restarts and retries nothing itself: whoever restarts decides what is
tried again, and how often. A unit may be begun more than once; that it counts once is the business of its storage.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

import ray

from cluster.actor import Answer, Built, Here, Lost, Made, Order, Raised, answer_of
from cluster.endings import Process, wait_for_ends
from cluster.errors import ClusterError
from cluster.outcomes import Done, Failed, Limits
from cluster.places import Crew, Place, Trial
from cluster.runtime import Resources, room_for
from cluster.stopping import Stop

T = TypeVar("T")

_STARTS = 3  # deaths in a row, of one place's actors while they build, that end a run in which nothing works
_RAISES = 3  # units in a row that raise in one actor, after which it is replaced: its GPU may be at fault
_HEARTBEAT = 1.0  # seconds after which the driver looks around though no actor has answered

_log = logging.getLogger(__name__)


def run_units(
    builder: Callable[[], Callable[[int], T]],
    units: Iterable[int],
    *,
    actors: int | None,
    resources: Resources,
    retries: int = 2,
    stop: Stop | None = None,
    limits: Limits | None = None,
    crew: Crew | None = None,
) -> Generator[Done[T] | Failed, None, None]:
    """Make every unit on one of `actors` processes, each of which builds once; outcomes come as they are completed.

    `builder` is pickled and called in each process; what it returns makes one unit and returns a small result.
    OMP_NUM_THREADS is the actor's number of cores before anything of the builder is imported.
    Without a number of `actors` there are as many as the machines hold, more when machines join.
    `units` is read as actors become free. A unit that raises, hangs, or whose process dies, is tried `retries`
    times more, where possible in another place.
    Once `stop` is requested no further unit is handed out, the current ones are finished within the grace, and
    the iterator ends: a unit of which nothing was heard is unmade. Closing the iterator ends its actors at once, and
    returns when their processes are gone.
    `crew` is kept up to date for whoever shows progress.

    ClusterError: the builder raised; actors keep dying before they are built; a unit raised what ends a run; or for
    the length of the patience there was no actor, and no machine of the cluster can hold even one.
    """
    if (actors is not None and actors < 1) or retries < 0:
        raise ValueError(f"At least 1 actor and 0 retries are needed, these are {actors} and {retries}.")
    if not ray.is_initialized():
        raise ClusterError("There is no connection to Ray: call run_units inside `with connect():`.")
    room, limits = room_for(resources), limits or Limits()
    if actors is not None and room < actors:
        _log.warning("The cluster has room for %d of %d actors, the others wait for machines to join.", room, actors)
    order = Order.of(builder, resources, limits.ends)
    pool: _Pool[T] = _Pool(order, iter(units), actors, retries + 1, stop or Stop(), limits, crew or Crew())
    return pool.outcomes()


@dataclass
class _Pool(Generic[T]):
    order: Order
    units: Iterator[int]
    actors: int | None
    tries: int
    stop: Stop
    limits: Limits
    crew: Crew
    places: list[Place] = field(default_factory=list)
    waiting: deque[Trial] = field(default_factory=deque)
    calls: dict[ray.ObjectRef, Place] = field(default_factory=dict)  # oldest first: no actor is overlooked
    begun: list[Process] = field(default_factory=list)
    looked_at: float = -math.inf
    patience_ends: float = math.inf
    grace_ends: float = math.inf

    def outcomes(self) -> Generator[Done[T] | Failed, None, None]:
        try:
            self._fill_places()
            while self._goes_on():
                answered: list[ray.ObjectRef] = []
                if self.calls:
                    answered, _ = ray.wait(list(self.calls), num_returns=1, timeout=self._pause(), fetch_local=False)
                else:
                    time.sleep(self._pause())
                outcome = self._act_on(answered)
                self._fill_places()
                if outcome is not None:
                    yield outcome
        finally:
            for place in self.places:
                self._vacate(place)
            wait_for_ends(self.begun)
            self._count()

    def _goes_on(self) -> bool:
        if self.stop.requested:
            self.grace_ends = min(self.grace_ends, time.monotonic() + self.limits.grace)
            if time.monotonic() >= self.grace_ends:
                return False
        return self._has_waiting(1) or any(place.trial for place in self.places)

    def _has_waiting(self, count: int) -> bool:
        """Whether at least so many units are there to be handed out; reads no more of them than that."""
        if self.stop.requested:
            return False
        missing = count - len(self.waiting)
        self.waiting.extend(Trial(unit) for unit in islice(self.units, max(0, missing)))
        return len(self.waiting) >= count

    def _fill_places(self) -> None:
        """Start an actor in every vacant place whose back-off is over, as long as there is a unit for it."""
        self._look_around()
        coming = sum(place.phase in ("waiting", "building") for place in self.places)
        for place in self.places:
            ready = place.phase == "vacant" and place.start_at <= time.monotonic()
            if ready and self._has_waiting(coming + 1):
                self.calls[place.start(self.order)] = place
                coming += 1
        self._count()

    def _look_around(self) -> None:
        """At every heartbeat: what the machines hold, and whether to go on hoping for one."""
        now = time.monotonic()
        if now - self.looked_at < _HEARTBEAT:
            return
        self.looked_at, room = now, room_for(self.order.resources)
        wanted = max(1, room) if self.actors is None else self.actors
        self.places += [Place() for _ in range(wanted - len(self.places))]
        for place in [p for p in self.places if p.phase in ("vacant", "waiting")][: len(self.places) - wanted]:
            self._vacate(place)
            self.places.remove(place)
        if room or any(place.phase not in ("vacant", "waiting") for place in self.places):
            self.patience_ends = now + self.limits.patience
        self.patience_ends = min(self.patience_ends, now + self.limits.patience)
        if now >= self.patience_ends:
            raise ClusterError(f"No machine of the cluster can hold one actor, each asks for {self.order.resources}.")

    def _count(self) -> None:
        self.crew.waiting = sum(place.phase == "waiting" for place in self.places)
        self.crew.alive = sum(place.phase not in ("vacant", "waiting") for place in self.places)

    def _act_on(self, answered: list[ray.ObjectRef]) -> Done[T] | Failed | None:
        """Act on an actor's answer, or on a limit that has passed; None where that ends no unit."""
        if answered:
            place, answer = self.calls.pop(answered[0]), answer_of(answered[0])
        elif overdue := [place for place in self.places if place.deadline <= time.monotonic()]:
            place, answer = overdue[0], Lost(f"it took longer than the {self._limit(overdue[0]):g} s it may take", "")
        else:
            return None
        outcome = self._after_trial(place, answer) if place.phase == "making" else self._after_start(place, answer)
        for free in (place, *self.places):
            self._hand_out(free)
        return outcome

    def _limit(self, place: Place) -> float:
        return self.limits.start if place.phase == "building" else self.limits.unit

    def _pause(self) -> float:
        now = time.monotonic()
        moments = [place.start_at for place in self.places if place.phase == "vacant"]
        moments += [place.deadline for place in self.places] + [self.grace_ends]
        return min([_HEARTBEAT, *(max(0.0, moment - now) for moment in moments if moment > now)])

    def _after_start(self, place: Place, answer: Answer) -> None:
        match answer:
            case Here(process) if not self._has_waiting(1):
                self.begun.append(process)
                self._vacate(place)
            case Here(process):
                self.begun.append(process)
                self.calls[place.build(self.order, self.limits.start)] = place
            case Built():
                place.failed_starts = 0
                place.rest()
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
                raise AssertionError("an actor without a unit has made one")

    def _after_trial(self, place: Place, answer: Answer) -> Done[T] | Failed | None:
        trial = place.trial
        assert trial is not None, "an actor without a unit has made one"
        match answer:
            case Made(result, seconds):
                place.raised = 0
                place.rest()
                return Done(trial.unit, result, seconds, trial.attempt)
            case Lost(reason, details):
                self._vacate(place)
            case Raised(reason, details, ends=True):
                raise ClusterError(f"The run was stopped by unit {trial.unit}: {reason}")
            case Raised(reason, details):
                place.raised += 1
                place.rest()
                if place.raised % _RAISES == 0:
                    self._vacate(place)
            case _:
                raise AssertionError("an actor was built twice")
        if trial.attempt >= self.tries:
            return Failed(trial.unit, reason, details, trial.attempt)
        _log.warning("Unit %d, attempt %d of %d: %s", trial.unit, trial.attempt, self.tries, reason)
        self.waiting.append(Trial(trial.unit, trial.attempt + 1, avoid=place))
        return None

    def _hand_out(self, place: Place) -> None:
        """Give a free actor its next unit, or let it go, all but one: what fails at the end is tried again there."""
        if place.phase != "free":
            return
        others = [other for other in self.places if other is not place]
        if not self._has_waiting(1):
            has_spare = self.stop.requested or any(other.phase == "free" for other in others)
            if has_spare or place.raised or not any(other.trial for other in others):
                self._vacate(place)
            return
        if all(trial.avoid is place for trial in self.waiting):
            self._has_waiting(len(self.waiting) + 1)
        trial = next((trial for trial in self.waiting if trial.avoid is not place), None)
        if trial is None and any(other.trial or other.phase == "free" for other in others):  # which takes it
            self._vacate(place)
            return
        trial = trial or self.waiting[0]
        self.waiting.remove(trial)
        self.calls[place.make(trial, self.limits.unit)] = place

    def _vacate(self, place: Place) -> None:
        place.vacate()
        self.calls = {call: other for call, other in self.calls.items() if other is not place}

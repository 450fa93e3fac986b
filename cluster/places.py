"""Where actors work, one at a time in each place, and what they work on."""

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import ray

from cluster.actor import Actor, Order

BACK_OFF = 0.5  # seconds before a lost actor is replaced; doubled by every failure in a row
BACK_OFF_MOST = 30.0

Phase = Literal["vacant", "waiting", "building", "free", "making"]


@dataclass(frozen=True)
class Trial:
    """One attempt at a unit; `avoid` is the place in which the last one failed, for that GPU may be the reason."""

    unit: int
    attempt: int = 1
    avoid: "Place | None" = None


@dataclass
class Crew:
    """How many actors work and how many wait for a machine; the pool writes it, anybody may read it."""

    alive: int = 0
    waiting: int = 0


@dataclass(eq=False)
class Place:
    """A place for an actor: waiting until a machine has room for it, then building, then making trials."""

    actor: Any = None  # Ray types the handle of an actor as one whose every attribute is Never
    phase: Phase = "vacant"
    trial: Trial | None = None
    failed_starts: int = 0  # in a row
    raised: int = 0  # units in a row that raised here
    start_at: float = 0.0
    deadline: float = math.inf  # of the phase, on time.monotonic

    def start(self, order: Order) -> ray.ObjectRef:
        """Ask for an actor; the answer comes when a machine has room for it."""
        self.actor, self.phase = ray.remote(Actor).options(**order.resources.options()).remote(), "waiting"
        return self.actor.here.remote()

    def build(self, order: Order, limit: float) -> ray.ObjectRef:
        self.phase, self.deadline = "building", time.monotonic() + limit
        return self.actor.build.remote(order)

    def make(self, trial: Trial, limit: float) -> ray.ObjectRef:
        self.phase, self.trial, self.deadline = "making", trial, time.monotonic() + limit
        return self.actor.make.remote(trial.unit)

    def rest(self) -> Trial | None:
        """Free again; returns what was being made."""
        trial, self.trial, self.phase, self.deadline = self.trial, None, "free", math.inf
        return trial

    def vacate(self) -> None:
        """End the actor at once; the next one may start when the back-off is over."""
        if self.actor is not None and ray.is_initialized():
            ray.kill(self.actor)
        self.rest()
        self.actor, self.phase, failures = None, "vacant", self.failed_starts + self.raised
        self.start_at = time.monotonic() + min(BACK_OFF_MOST, BACK_OFF * 2 ** min(failures, 10))

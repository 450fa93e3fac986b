"""What a run of units is allowed, and what it answers."""

import math
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


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


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds, and what ends a run."""

    start: float = math.inf  # the build in a new actor; then the actor is replaced
    unit: float = math.inf  # a unit; then its actor is replaced and the unit tried again
    grace: float = math.inf  # for the current units, once a stop is requested
    patience: float = 120.0  # without an actor, and without a machine that could hold one
    ends: tuple[type[Exception], ...] = ()  # raised in a unit, these end the run: no other unit would do better

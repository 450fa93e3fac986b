"""The process that makes units, one after the other, and the answers that come back from it."""

import io
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Generic, TypeVar

import ray
import ray.cloudpickle
from ray.exceptions import RayError, RayTaskError

from cluster.endings import Process
from cluster.runtime import Resources

T = TypeVar("T")


@dataclass(frozen=True)
class Made(Generic[T]):
    """What a unit came to, and the seconds that it took in its actor."""

    result: T
    seconds: float


@dataclass(frozen=True)
class Raised:
    """An exception as text, since many do not survive pickling."""

    reason: str
    details: str
    ends: bool = False  # whether it ends the run

    @classmethod
    def by(cls, error: Exception, ends: tuple[type[Exception], ...]) -> "Raised":
        details = "".join(traceback.format_exception(error))
        return cls(f"{type(error).__name__}: {error}", details, isinstance(error, ends))


@dataclass(frozen=True)
class Here:
    """A machine had room for the actor, and its process runs."""

    process: Process


@dataclass(frozen=True)
class Built:
    """The builder has come back: the actor takes units from now on."""


@dataclass(frozen=True)
class Lost:
    """The process, its machine or its result is gone, as Ray tells it."""

    reason: str
    details: str


Answer = Here | Built | Made[Any] | Raised | Lost


@dataclass(frozen=True)
class Order:
    """What an actor is to build.

    The builder travels as bytes, so that nothing of it is imported before the process is prepared for it. Ray's objects
    that it names go beside them: only as arguments of a call are they known to be in use, and known to Ray Client.
    `paths` are the driver's import paths: Ray hands on no more than those of its script and working directory.
    """

    builder: bytes  # with the exceptions that end the run
    objects: list[ray.ObjectRef]
    paths: tuple[str, ...]
    resources: Resources

    @classmethod
    def of(
        cls,
        builder: Callable[[], Callable[[int], object]],
        resources: Resources,
        ends: tuple[type[Exception], ...] = (),
    ) -> "Order":
        content = io.BytesIO()
        pickler = _Pickler(content)
        pickler.dump((builder, ends))
        return cls(content.getvalue(), pickler.objects, tuple(path for path in sys.path if path), resources)

    def builder_and_ends(self) -> tuple[Callable[[], Callable[[int], object]], tuple[type[Exception], ...]]:
        return _Unpickler(self.builder, self.objects).load()


class _Pickler(ray.cloudpickle.CloudPickler):
    """Puts a number in the place of each of Ray's objects, and keeps them."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.objects: list[ray.ObjectRef] = []

    def persistent_id(self, obj: object) -> int | None:
        if not isinstance(obj, ray.ObjectRef):
            return None
        self.objects.append(obj)
        return len(self.objects) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, objects: list[ray.ObjectRef]) -> None:
        super().__init__(io.BytesIO(content))
        self._objects = objects

    def persistent_load(self, pid: int) -> ray.ObjectRef:
        return self._objects[pid]


class Actor:
    """A process of the pool; an exception in its work becomes a `Raised`, and it stays alive."""

    _make: Callable[[int], object]
    _ends: tuple[type[Exception], ...] = ()

    @ray.method
    def here(self) -> Here:
        """The call's return is the actor's sign of life."""
        return Here(Process.this_one())

    @ray.method
    def build(self, order: Order) -> Built | Raised:
        """Prepare the process and call the builder."""
        _prepare(order)
        try:
            builder, self._ends = order.builder_and_ends()
            self._make = builder()
        except Exception as error:  # the builder's failure ends the run, not this process
            return Raised.by(error, self._ends)
        return Built()

    @ray.method
    def make(self, unit: int) -> Made[object] | Raised:
        """Make one unit."""
        begin = time.perf_counter()
        try:
            result = self._make(unit)
        except Exception as error:  # the one place where an exception of the work becomes a failure of its unit
            return Raised.by(error, self._ends)
        return Made(result, time.perf_counter() - begin)


def _prepare(order: Order) -> None:
    """Set what libraries read once, at their import: as many threads as cores, and no GPU that was not asked for.

    Ray leaves an OMP_NUM_THREADS inherited from the driver's shell as it is, and shows every GPU to an actor
    that reserved none. Plain `os.environ` is early enough, since the builder is still bytes; the `env_vars` of a
    Ray runtime environment do the same for half a second more at every start.
    """
    os.environ["OMP_NUM_THREADS"] = str(max(1, int(order.resources.cpus)))
    if order.resources.gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    sys.path.extend(path for path in order.paths if path not in sys.path)


def answer_of(call: ray.ObjectRef) -> Answer:
    """What an actor said to a call that is over."""
    try:
        return ray.get(call)
    except RayTaskError as error:  # not the work, which answers with Raised, but a result that does not pickle
        return Raised(f"{type(error.cause).__name__}: {error.cause}", str(error))
    except RayError as error:
        last_line = str(error).strip().splitlines()[-1]
        if "out of memory issue" in last_line:
            return Lost("its process was ended by Ray, for its machine's memory was full", str(error))
        return Lost(f"its process was lost: {last_line.partition(' Some common causes')[0]}", str(error))

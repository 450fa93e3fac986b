"""Where the work of a recipe is done: what it asks of a cluster, and a whole stage in a process there."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from cluster import ClusterError, Failed, Limits, Resources, connect, run_units
from pipelines.errors import LeaseError, StorageError
from pipelines.recipe import Recipe
from pipelines.sections import ClusterSection
from pipelines.stage import Outcome

Stage = Callable[[Recipe], Outcome]


def limits_of(settings: ClusterSection) -> Limits:
    return Limits(
        start=settings.start_seconds,
        unit=settings.unit_seconds,
        grace=settings.grace_seconds,
        patience=settings.patience_seconds,
        ends=(StorageError,),
    )


def resources_of(settings: ClusterSection, gpus: float) -> Resources:
    """What an actor asks of a cluster with so many GPUs: one of them, where the recipe leaves it open."""
    asked = float(gpus > 0) if settings.gpus == "auto" else settings.gpus
    memory = None if settings.memory_gib is None else int(settings.memory_gib * 2**30)
    return Resources(settings.cpus, asked, memory, settings.resources, settings.labels)


def device_of(settings: ClusterSection, resources: Resources) -> str:
    """Where the networks run: on a GPU if one is reserved, unless the recipe says otherwise."""
    return settings.device if settings.device != "auto" else "cuda" if resources.gpus else "cpu"


@contextmanager
def joined(settings: ClusterSection) -> Iterator[None]:
    """One connection to the recipe's cluster for all stages in the block; none where that is "local"."""
    if settings.address == "local":
        yield
        return
    with connect(settings.address, log_to_driver=True):
        yield


def placed(stage: Stage, recipe: Recipe) -> Outcome:
    """Run the stage where the recipe's cluster.address says: here, or on an actor that has what a unit would have.

    The driver of a submitted job is on the cluster's head, which often has neither a GPU nor much memory.
    A lost actor is replaced, and begins anew. Raises what the stage raises, ClusterError when there is no actor.
    """
    settings = recipe.cluster
    if settings.address == "local":
        return stage(recipe)
    with connect(settings.address, log_to_driver=True) as ray:
        work, limits = _Whole(stage, recipe.resolved()), Limits(patience=settings.patience_seconds)
        resources = resources_of(settings, ray.gpus)
        units = run_units(work, [0], actors=1, resources=resources, retries=settings.retries, limits=limits)
        with closing(units) as outcomes:
            made = next(outcomes)
    if isinstance(made, Failed):
        error = ClusterError(f"{stage.__name__} failed {made.attempts} times on the cluster: {made.reason}")
        error.add_note(made.traceback)
        raise error
    if isinstance(made.result, Exception):
        raise made.result
    return made.result


@dataclass(frozen=True)
class _Whole:
    """Picklable; what it returns makes the stage, or answers with what would be raised again at a second try."""

    stage: Stage
    recipe: Recipe

    def __call__(self) -> Callable[[int], Outcome | Exception]:
        return self._make

    def _make(self, _unit: int) -> Outcome | Exception:
        try:
            return self.stage(self.recipe)
        except (ValueError, LeaseError, StorageError) as error:
            error.add_note(traceback.format_exc())
            return error

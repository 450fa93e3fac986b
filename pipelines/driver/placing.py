"""Where the work of a recipe is done: what it asks of a cluster, and a whole stage in a process there."""

import secrets
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from cluster import ClusterError, Failed, Limits, Resources, connect, run_units
from pipelines.driver.resources import device_of, resources_of
from pipelines.errors import LeaseError, RecipeError, StorageError
from pipelines.files import storage
from pipelines.files.writable import must_be_writable
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import Outcome
from pipelines.sections.cluster import ClusterSection

T = TypeVar("T")
Stage = Callable[[Recipe], Outcome]


@contextmanager
def joined(settings: ClusterSection) -> Iterator[None]:
    """One connection to the recipe's cluster for all stages in the block; none where that is "local"."""
    if settings.address == "local":
        yield
        return
    with connect(settings.address, log_to_driver=True):
        yield


def one_answer(builder: Callable[[], Callable[[int], T]], work: str, resources: Resources, limits: Limits) -> T:
    """What one actor answers to one call, inside `with connect():`. Raises ClusterError, which begins with `work`."""
    answers = run_units(builder, [0], actors=1, resources=resources, limits=limits)
    with closing(answers):
        answer = next(answers)
    if isinstance(answer, Failed):
        error = ClusterError(f"{work} failed {answer.attempts} times on the cluster: {answer.reason}")
        error.add_note(answer.traceback)
        raise error
    return answer.result


@contextmanager
def marked(folder: Path) -> Iterator[Path]:
    """A file that lies in the folder for the length of the block: a machine that sees it shares the folder."""
    must_be_writable(folder)
    mark = folder / f".seen-{secrets.token_hex(4)}"
    storage.write_whole(mark, b"")
    try:
        yield mark
    finally:
        storage.remove(mark)


def must_see(mark: Path) -> None:
    """Raises RecipeError on a machine that does not share the folder of `marked`."""
    if not mark.exists():
        raise RecipeError(
            f"{socket.gethostname()} does not see what lies in {mark.parent}; let paths.out be a folder that all "
            "machines of the cluster share"
        )


def placed(name: str, stage: Stage, recipe: Recipe) -> Outcome:
    """Run the stage where the recipe's cluster.address says: here, or on an actor that has what a unit would have.

    The driver of a submitted job is on the cluster's head, which often has neither a GPU nor much memory.
    A lost actor is replaced, and begins anew. Raises what the stage raises, ClusterError when there is no actor.
    """
    settings = recipe.cluster
    if settings.address == "local":
        return stage(recipe)
    with connect(settings.address, log_to_driver=True) as ray, marked(recipe.paths.out) as mark:
        resources = resources_of(settings, ray.gpus)
        console.print(f"{name}: Ray at {ray.address}, an actor with {resources.cpus:g} CPUs, {resources.gpus:g} GPUs")
        builder = partial(_opened, stage, recipe, mark, device_of(settings, resources))
        outcome = one_answer(builder, name, resources, Limits(patience=settings.patience_seconds))
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _opened(stage: Stage, recipe: Recipe, mark: Path, device: str) -> Callable[[int], Outcome | Exception]:
    """On an actor: what makes the stage, or answers with what would be raised again at a second try."""
    from pipelines.units.devices import needed_device  # here, since a driver needs no torch

    needed_device(device)

    def make(_unit: int) -> Outcome | Exception:
        try:
            must_see(mark)
            return stage(recipe)
        except (ValueError, LeaseError, StorageError) as error:
            error.add_note(traceback.format_exc())
            return error

    return make

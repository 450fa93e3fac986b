"""A builder that takes its models along to machines that do not have them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from cluster import Carried
from pipelines.folders import interpreter_folder
from pipelines.recipe import Recipe
from pipelines.units.batch_size import MeasureBatch
from pipelines.units.builder import Builder
from pipelines.units.weights import copied_once

B = TypeVar("B", Builder, MeasureBatch)


def with_models(builder: B) -> Callable[[], Callable[[int], Any]]:
    """The builder; on a cluster, one that brings what is not in cluster.shared. Call it inside `with connect():`."""
    recipe = builder.recipe
    if recipe.cluster.address == "local":
        return builder
    places = {"denoiser": recipe.paths.denoiser, "interpreter": interpreter_folder(recipe)}
    carried = {name: Carried.of(place) for name, place in places.items() if _stays_behind(place, recipe)}
    return _Carrying(builder, carried) if carried else builder


def _stays_behind(place: Path | str, recipe: Recipe) -> bool:
    """A Hub id is no file here, and is fetched there."""
    if isinstance(place, str) or not place.exists():
        return False
    return not any(place.is_relative_to(shared) for shared in recipe.cluster.shared)


@dataclass(frozen=True)
class _Carrying(Generic[B]):
    """Picklable; what a machine has already is taken as it is there."""

    builder: B
    carried: dict[str, Carried]

    def __call__(self) -> Callable[[int], Any]:
        here, paths = {name: _here(carried) for name, carried in self.carried.items()}, self.builder.recipe.paths
        if "denoiser" in here:
            paths = paths.model_copy(update={"denoiser": here["denoiser"]})
        if "interpreter" in here:
            paths = paths.model_copy(update={"out": here["interpreter"].parent})
        recipe = self.builder.recipe.model_copy(update={"paths": paths})
        return cast(Callable[[], Callable[[int], Any]], replace(self.builder, recipe=recipe))()


def _here(carried: Carried) -> Path:
    if carried.path.exists():
        return carried.path
    return copied_once(carried.digest, carried.path.name, carried.write)

"""Models that travel along with the work, to machines that do not have their files."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from cluster import Carried
from pipelines.folders import interpreter_folder
from pipelines.recipe import Recipe
from pipelines.units.painter import paints_apart
from pipelines.units.weights import copied_once

T = TypeVar("T")


def with_models(build: Callable[[Recipe], Callable[[int], T]], recipe: Recipe) -> Callable[[], Callable[[int], T]]:
    """`build(recipe)` for actors on any machine: those that lack the recipe's models get them.

    Call it inside `with connect():`, whose end is that of what travels.
    """
    return partial(_build_there, build, recipe, carried_models(recipe))


def carried_models(recipe: Recipe) -> dict[str, Carried]:
    """The models that other machines may lack, packed."""
    return {name: Carried.of(place) for name, place in left_behind(recipe).items()}


def left_behind(recipe: Recipe) -> dict[str, Path]:
    """Where the models lie that other machines may lack: on a cluster, those that are not in cluster.shared."""
    if recipe.cluster.address == "local":
        return {}
    places: dict[str, Path | str] = {"denoiser": recipe.paths.denoiser, "interpreter": interpreter_folder(recipe)}
    if paints_apart(recipe) and recipe.paths.painter is not None:
        places["painter"] = recipe.paths.painter
    return {name: place for name, place in places.items() if isinstance(place, Path) and _stays_behind(place, recipe)}


def _stays_behind(place: Path, recipe: Recipe) -> bool:
    """Whether it is a file here; a URL and a Hub id are fetched there."""
    return place.exists() and not any(place.is_relative_to(shared) for shared in recipe.cluster.shared)


def _build_there(
    build: Callable[[Recipe], Callable[[int], T]], recipe: Recipe, carried: Mapping[str, Carried]
) -> Callable[[int], T]:
    """On an actor: build with the models where this machine has them."""
    places, paths = {name: _place_of(model) for name, model in carried.items()}, recipe.paths
    paths = paths.model_copy(update={name: places[name] for name in ("denoiser", "painter") if name in places})
    if "interpreter" in places:
        paths = paths.model_copy(update={"out": places["interpreter"].parent})
    return build(recipe.model_copy(update={"paths": paths}))


def _place_of(model: Carried) -> Path:
    """What a machine has already is taken as it is there."""
    if model.path.exists():
        return model.path
    return copied_once(model.digest, model.path.name, model.write)

"""A stage as a job on a Ray cluster: what it needs travels, or is reachable there, or is refused by name."""

import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster import Load, end_of
from pipelines.dataset.damage import missing_units
from pipelines.driver.tally import ranges
from pipelines.errors import DatasetError, RecipeError
from pipelines.files.disk import copy_folder
from pipelines.files.storage import Location, location
from pipelines.folders import (
    dataset_folder,
    interpreter_folder,
    network_folder,
    photographs_folder,
    report_page,
    scores_folder,
    sources,
)
from pipelines.places import recipe_file
from pipelines.recipe import Recipe
from pipelines.record import RECORD
from pipelines.sections.train import OWN
from pipelines.units.sources import named_weights

PACKAGES = ("generate", "label", "deeplab", "cluster", "pipelines")
NEEDS = {  # the inputs of a stage that lie where the recipe says
    "generate": ("denoiser", "painter", "photographs"),
    "train": ("annotated", "validation"),
    "run": ("denoiser", "painter", "annotated", "held_out", "validation", "photographs"),
}
_GRACE = 20.0  # seconds for a driver to write its index and leave, after its units' grace


@dataclass(frozen=True)
class Parcel:
    """A job that is ready to be sent."""

    command: str
    load: Load
    grace_seconds: float


@contextmanager
def packed(stage: str, path: Path, overrides: tuple[str, ...], address: str) -> Iterator[Parcel]:
    """Put recipe and interpreter into a folder, for the length of the block.

    Raises RecipeError for a file that the job needs, or an output, that would stay on this machine.
    """
    if stage not in NEEDS:
        raise RecipeError(f"{stage!r} is no stage for a cluster; known are {', '.join(NEEDS)}")
    recipe = Recipe.load(path, overrides)
    _refuse_what_stays_behind(stage, recipe, address)
    places = {key: str(place) for key, place in _datasets(recipe).items()}
    places |= {f"paths.{name}": str(place) for name, place in recipe.paths if isinstance(place, Path)}
    if recipe.train.network.encoder_weights:
        places["train.encoder_weights"] = recipe.train.network.encoder_weights
    settings = [*overrides, 'cluster.address="auto"', *(f"{key}={quoted(at)}" for key, at in places.items())]
    if shared := recipe.cluster.shared:
        settings.append(f"cluster.shared=[{', '.join(map(quoted, shared))}]")
    if recipe.paths.weights:
        settings.append(f"paths.weights={_inline_table(recipe.paths.weights)}")
    if mix := [_inline_table(each.model_dump(exclude_none=True)) for each in recipe.train.mix]:
        settings.append(f"train.mix=[{', '.join(mix)}]")
    with tempfile.TemporaryDirectory(prefix="datasetddpm-") as temporary:
        folder = Path(temporary)
        shutil.copy(recipe_file(path), folder / "recipe.toml")
        if stage == "generate":
            if not interpreter_folder(recipe).is_dir():
                raise RecipeError(f"{interpreter_folder(recipe)} holds no interpreter; run `datasetddpm fit` first")
            copy_folder(interpreter_folder(recipe), folder / "out" / "interpreter")
            settings.append('paths.out="out"')
        options = [part for setting in settings for part in ("--set", setting)]
        code = "from pipelines.cli import main; main()"
        command = shlex.join(["python", "-c", code, stage, "recipe.toml", *options])
        load = Load(folder, tuple(map(_folder_of, PACKAGES)), excludes=("**/__pycache__", "demo"))
        yield Parcel(command, load, recipe.cluster.grace_seconds + _GRACE)


def _datasets(recipe: Recipe) -> dict[str, Location]:
    """The folders that the recipe's datasets go to, by their keys."""
    keys = {"denoiser": "paths.dataset", "photographs": "paths.photographed"}
    return {keys[each.generate.source.images]: dataset_folder(each) for each in recipe.by_dataset()}


def _inputs(stage: str, recipe: Recipe) -> dict[str, Location | str | None]:
    """What the job reads beside the recipe, by its keys."""
    inputs = {f"paths.{name}": getattr(recipe.paths, name) for name in NEEDS[stage]}
    if "photographs" in NEEDS[stage]:
        labels_some = recipe.generate.source.images != "denoiser"
        inputs["paths.photographs"] = photographs_folder(recipe) if labels_some else None
    if stage != "train":
        inputs |= {f"paths.weights.{kind}": place for kind, place in named_weights(recipe).items()}
    if stage != "generate":
        inputs["train.encoder_weights"] = recipe.train.network.weights_file
        others = (each.source for each in recipe.train.mix if each.source not in OWN)
        inputs |= {f"train.mix.source {number}": location(other) for number, other in enumerate(others, 1)}
    return inputs


def _inline_table(values: Mapping[str, Any]) -> str:
    """As TOML has it in one line; values are texts, paths and numbers."""
    entries = {key: quoted(str(value)) if isinstance(value, str | Path) else value for key, value in values.items()}
    return f"{{ {', '.join(f'{quoted(key)} = {value}' for key, value in entries.items())} }}"


def quoted(text: str) -> str:
    """As TOML has it, whatever quotes and backslashes are in it."""
    return json.dumps(text, ensure_ascii=False)


def _folder_of(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def is_reachable(place: Location, recipe: Recipe, address: str) -> bool:
    """Whether a machine of the cluster sees the same there: a URL, a shared folder, or all on this very machine."""
    if not isinstance(place, Path) or _is_loopback(address):
        return True
    return any(place.is_relative_to(shared) for shared in recipe.cluster.shared)


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_what_stays_behind(stage: str, recipe: Recipe, address: str) -> None:
    """A Hub id is no file here, so it is fetched there."""
    inputs, outputs = _inputs(stage, recipe), _datasets(recipe)
    if stage != "generate":
        outputs["paths.out"] = recipe.paths.out
    files = {name: place for name, place in inputs.items() if isinstance(place, Path) and place.exists()}
    behind = [
        f"{name} = {place}" for name, place in (files | outputs).items() if not is_reachable(place, recipe, address)
    ]
    if behind:
        raise RecipeError(
            f"{', '.join(behind)}: on this machine only, not on the cluster at {address}; put it on a folder that all "
            "machines share and name that folder in cluster.shared, or give the dataset as a URL"
        )


def result(recipe: Recipe, stage: str, address: str, job: str) -> list[str]:
    """What is wrong once a job has ended, one sentence each: by the reports in its output, and by its exit code."""
    end, wrong = end_of(address, job), list[str]()
    if end is None:
        wrong.append(f"{job} has not ended, but its log has")
    elif end.exit_code != 0 or end.status != "SUCCEEDED":
        wrong.append(f"{job} ended with exit code {end.exit_code}, {end.status}: {end.message.strip()}")
    if stage != "train" and recipe.makes_dataset:
        for dataset in _datasets(recipe).values():
            wrong += _missing_units(dataset) if is_reachable(dataset, recipe, address) else []
    if stage != "generate" and is_reachable(recipe.paths.out, recipe, address):
        wrong += [
            f"{folder} holds no finished stage; submit it again to go on"
            for folder in _folders_of(stage, recipe)
            if not (folder / RECORD).is_file()
        ]
    return wrong


def _missing_units(folder: Location) -> list[str]:
    try:
        missing = missing_units(folder)
    except DatasetError as error:
        return [str(error)]
    return [f"{folder} lacks units {ranges(missing)}; submit it again to go on"] if missing else []


def _folders_of(stage: str, recipe: Recipe) -> list[Path]:
    """The folders that a job leaves beside the dataset; nobody looks whether this very recipe made them."""
    folders = [network_folder(recipe, source, seed) for source in sources(recipe) for seed in recipe.train.seeds]
    if stage == "run":
        folders.append(interpreter_folder(recipe))
        if recipe.paths.held_out:
            folders.append(scores_folder(recipe))
            if recipe.makes_dataset:
                folders.append(report_page(recipe).parent)
    return folders

"""Whether what lies in a stage's folder was made by this very recipe, and is finished, by its record alone.

A stage asks it of what it stands on before it works; `check` and `status` ask it of every stage. Needs no torch.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from label.source_kinds import DENOISER
from pipelines.dataset.manifest import claimed_settings, stored_dataset
from pipelines.digests import first_difference
from pipelines.errors import RecipeError
from pipelines.folders import (
    dataset_folder,
    ddpm_folder,
    interpreter_folder,
    network_folder,
    samples_folder,
    scores_folder,
    sources,
)
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import CHECKPOINT, RECORD, Record, parts_of, progress_of
from pipelines.units.painter import keys_of_images, paints_apart


def must_stand_on(folder: Path, settings: dict[str, Any], made: str, command: str) -> None:
    """Raises RecipeError where a finished stage has other settings, and names the first; `made` by `command`.

    Only the sections in `settings` are compared; a folder whose record does not say how it was made is taken as it is.
    """
    record = _record(folder)
    if clause := _difference(record, settings):
        raise RecipeError(
            f"{made} in {folder} is of another recipe: {clause}; "
            f"run `datasetddpm {command}` again, or restore the recipe"
        )
    if record and (fault := record.fault(folder)):
        raise RecipeError(f"{made} in {folder} is not whole: {fault}; run `datasetddpm {command}` again")


def must_be_fitted_so(recipe: Recipe) -> None:
    """Raises RecipeError where the interpreter was fitted with another [interpreter] than the recipe's."""
    settings = {"interpreter": recipe.interpreter.made_with()}
    must_stand_on(interpreter_folder(recipe), settings, "the interpreter", "fit")


def say_what_is_unfinished(recipe: Recipe) -> None:
    """A warning where paths.denoiser holds a model that is older than an unfinished training of this very run."""
    model = recipe.paths.denoiser
    if not isinstance(model, Path) or not model.exists():
        return
    written = max(path.stat().st_mtime for path in (model, *model.rglob("*")) if path.is_file())
    for part in parts_of(ddpm_folder(recipe)):
        checkpoint = part / CHECKPOINT
        if checkpoint.is_file() and checkpoint.stat().st_mtime > written:
            date = time.strftime("%Y-%m-%d %H:%M", time.localtime(written))
            console.print(
                f"warning: the training in {part} is unfinished{progress_of(part)}; paths.denoiser, {model}, is an "
                f"older model, of {date}: `datasetddpm train-ddpm` goes on with the training"
            )


def other_settings(stage: str, recipe: Recipe) -> str:
    """The first key of which the stage's result has another value, as a clause; "" where there is no such key.

    What is not told by settings, as the pixels of a mask, is not looked at: the stage itself does that.
    """
    if stage == "generate":
        return _of_dataset(recipe)
    differences = (_difference(_record(folder), settings) for folder, settings in _settings(stage, recipe))
    return next(filter(None, differences), "")


def _of_dataset(recipe: Recipe) -> str:
    for each in recipe.by_dataset():
        stored = stored_dataset(dataset_folder(each))
        wanted = each.generate.model_dump(mode="json")
        if stored and stored.denoiser and (clause := claimed_settings(stored, wanted, _painter(each))):
            return clause
    return ""


def _painter(recipe: Recipe) -> dict[str, Any] | None:
    return recipe.painter.made_with() if paints_apart(recipe) else None


def _settings(stage: str, recipe: Recipe) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folders that the stage fills, each with what its record must say."""
    networks = {
        source: {seed: network_folder(recipe, source, seed) for seed in recipe.train.seeds}
        for source in sources(recipe)
    }
    match stage:
        case "train-ddpm":
            yield ddpm_folder(recipe), {"train_ddpm": recipe.train_ddpm.made_with()}
        case "sample":
            painter = {"painter": recipe.painter.made_with()} if recipe.paths.painter is not None else {}
            of_images = recipe.generate.model_dump(mode="json", include=keys_of_images(recipe))
            yield samples_folder(recipe), {**painter, "generate": of_images}
        case "fit":
            yield interpreter_folder(recipe), {"interpreter": recipe.interpreter.made_with()}
        case "train":
            for by_seed in networks.values():
                for seed, folder in by_seed.items():
                    yield folder, recipe.train.made_with(seed)
        case "evaluate":
            yield scores_folder(recipe), {"networks": {name: _digests(by_seed) for name, by_seed in networks.items()}}


def _digests(folders: dict[int, Path]) -> list[str]:
    return [record.digest for folder in folders.values() if (record := _record(folder))]


def _record(folder: Path) -> Record | None:
    return Record.read(folder) if (folder / RECORD).is_file() else None


def _difference(record: Record | None, settings: dict[str, Any]) -> str:
    inputs = record.inputs if record else {}
    was = {name: inputs[name] for name in settings if name in inputs}
    return first_difference(_with_source(was), _with_source(settings)) if inputs else ""


def _with_source(settings: dict[str, Any]) -> dict[str, Any]:
    """With the feature source before all else of an interpreter's settings, the denoiser where they do not say it."""
    held = settings.get("interpreter")
    return settings | {"interpreter": {"features": DENOISER} | held} if isinstance(held, dict) else settings

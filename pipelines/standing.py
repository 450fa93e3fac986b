"""What a stage stands on, looked at before it works: made by this very recipe, and finished?"""

import time
from pathlib import Path
from typing import Any

from label.source_kinds import DENOISER
from pipelines.differences import first_difference
from pipelines.errors import RecipeError
from pipelines.folders import ddpm_folder, interpreter_folder
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import CHECKPOINT, RECORD, Record, parts_of, progress_of
from pipelines.train_section import TrainSection

_NOT_OF_THE_RESULT = {"seeds", "baseline", "workers", "decoded_gib"}


def must_stand_on(folder: Path, settings: dict[str, Any], made: str, command: str) -> None:
    """Raises RecipeError where a finished stage has other settings, and names the first; `made` by `command`.

    Only the sections in `settings` are compared; a folder whose record does not say how it was made is taken as it is.
    """
    record = Record.read(folder) if (folder / RECORD).is_file() else None
    if clause := _difference(record, settings):
        raise RecipeError(
            f"{made} in {folder} is of another recipe: {clause}; "
            f"run `datasetddpm {command}` again, or restore the recipe"
        )
    if record and (lost := record.lost(folder)):
        raise RecipeError(
            f"{made} in {folder} is not what was written: {lost[0]} is damaged or gone; "
            f"run `datasetddpm {command}` again"
        )


def difference(folder: Path, settings: dict[str, Any]) -> str:
    """The first of these settings that the record of a finished stage has otherwise, as a clause; "" for none."""
    return _difference(Record.read(folder) if (folder / RECORD).is_file() else None, settings)


def _difference(record: Record | None, settings: dict[str, Any]) -> str:
    inputs = record.inputs if record else {}
    was = {name: inputs[name] for name in settings if name in inputs}
    return first_difference(_with_source(was), _with_source(settings)) if inputs else ""


def _with_source(settings: dict[str, Any]) -> dict[str, Any]:
    """With the feature source before all else of an interpreter's settings, the denoiser where they do not say it."""
    held = settings.get("interpreter")
    return settings | {"interpreter": {"features": DENOISER} | held} if isinstance(held, dict) else settings


def trained_with(settings: TrainSection, seed: int) -> dict[str, Any]:
    """All of the recipe that a network depends on, beside the images: of a mixed folder its name, not its place."""
    train = settings.model_dump(mode="json", exclude=_NOT_OF_THE_RESULT)
    mix = [each | {"source": source.name} for each, source in zip(train["mix"], settings.mix, strict=True)]
    return {"train": train | {"mix": mix}, "seed": seed}


def must_be_fitted_so(recipe: Recipe) -> None:
    """Raises RecipeError where the interpreter was fitted with another [interpreter] than the recipe's."""
    settings = {"interpreter": recipe.interpreter.recorded}
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

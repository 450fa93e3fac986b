"""Whether what lies in a stage's folder was made by this very recipe, by its record alone; needs no torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.dataset.manifest import claimed_settings, stored_dataset
from pipelines.folders import (
    dataset_folder,
    ddpm_folder,
    interpreter_folder,
    network_folder,
    samples_folder,
    scores_folder,
    sources,
)
from pipelines.recipe import Recipe
from pipelines.record import RECORD, Record
from pipelines.standing import difference, trained_with
from pipelines.units.painter import keys_of_images, paints_apart


def other_settings(stage: str, recipe: Recipe) -> str:
    """The first key of which the stage's result has another value, as a clause; "" where there is no such key.

    What is not told by settings, as the pixels of a mask, is not looked at: the stage itself does that.
    """
    if stage == "generate":
        return _of_dataset(recipe)
    differences = (difference(folder, settings) for folder, settings in _settings(stage, recipe))
    return next(filter(None, differences), "")


def _of_dataset(recipe: Recipe) -> str:
    for each in recipe.by_dataset():
        stored = stored_dataset(dataset_folder(each))
        wanted = each.generate.model_dump(mode="json")
        if stored and stored.denoiser and (clause := claimed_settings(stored, wanted, _painter(each))):
            return clause
    return ""


def _painter(recipe: Recipe) -> dict[str, Any] | None:
    return recipe.painter.said() if paints_apart(recipe) else None


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
            painter = {"painter": recipe.painter.said()} if recipe.paths.painter is not None else {}
            of_images = recipe.generate.model_dump(mode="json", include=keys_of_images(recipe))
            yield samples_folder(recipe), {**painter, "generate": of_images}
        case "fit":
            yield interpreter_folder(recipe), {"interpreter": recipe.interpreter.recorded}
        case "train":
            for by_seed in networks.values():
                for seed, folder in by_seed.items():
                    yield folder, trained_with(recipe.train, seed)
        case "evaluate":
            yield scores_folder(recipe), {"networks": {name: _digests(by_seed) for name, by_seed in networks.items()}}


def _digests(folders: dict[int, Path]) -> list[str]:
    return [Record.read(folder).digest for folder in folders.values() if (folder / RECORD).is_file()]

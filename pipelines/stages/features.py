"""Stage features: which steps, blocks or layers an interpreter should read, by cross-validation over the annotated."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from label import DenoiserFeatures
from label.cross_validation import folds_of
from label.fitting import labelled_pixels
from pipelines.annotated import annotated_few
from pipelines.errors import RecipeError
from pipelines.folders import feature_cells_folder, features_folder
from pipelines.progress import console, follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record, Results, once
from pipelines.stages.evaluate import excluded_classes
from pipelines.stages.feature_cells import Comparison, small_fitting
from pipelines.stages.feature_choices import Choice, Measured, compared, most
from pipelines.stages.feature_figures import features_figure
from pipelines.stages.figures import save_figure
from pipelines.stages.fit import open_features
from pipelines.storage import write_whole

KEYS = "interpreter.toml"  # what to put into the recipe


@dataclass(frozen=True)
class _Asked:
    """What a recipe asks to compare, and what it reads itself."""

    features: DenoiserFeatures  # of all of `whole`
    whole: Choice
    own: Choice


def compare_features(recipe: Recipe) -> Outcome:
    """Score single maps and greedy joins of them, and write table, chart and the keys of the best.

    Raises RecipeError for fewer than two annotated images, which nothing can be learnt and judged on.
    """
    asked = _asked(recipe)
    annotations = annotated_few(recipe, asked.features.image_size)
    settings = small_fitting(recipe)
    labelled_pixels(annotations.masks, settings.min_class_pixels)  # or there is nothing to learn
    if len(annotations.names) < 2:
        raise RecipeError(
            f"{recipe.paths.annotated} has {len(annotations.names)} annotated image; at least 2 are needed, since each "
            "is labelled by what was learnt from the others"
        )
    comparison = Comparison(
        asked.features,
        asked.whole,
        annotations,
        recipe.interpreter.upsampling,
        settings,
        len(folds_of(len(annotations.names), recipe.features.folds)),
        excluded_classes(recipe),
        feature_cells_folder(recipe),
    )
    joins = recipe.features.joins
    return once(
        features_folder(recipe),
        comparison.inputs | {"own": asked.own.name, "joins": joins},
        lambda folder: _compare(comparison, asked.own, joins, folder),
        clause=f"a comparison of {len(asked.whole.places)} maps, by {len(annotations.names)} annotated images",
        outputs=("features.json", "features.png", KEYS),
    )


def chosen(recipe: Recipe) -> dict[str, list[int]]:
    """The keys of [interpreter] that did best, of a comparison that is finished."""
    return Record.read(features_folder(recipe)).results["best"]


def table(recipe: Recipe) -> Sequence[Measured]:
    """All that was measured, the best first."""
    results = Record.read(features_folder(recipe)).results["measured"]
    rows = [Measured(_choice(row["keys"]), row["channels"], row["mean_iou"], tuple(row["iou"])) for row in results]
    return sorted(rows, key=lambda row: row.rank, reverse=True)


def _choice(keys: dict[str, list[int]]) -> Choice:
    return Choice.of({key: tuple(values) for key, values in keys.items()})


def _asked(recipe: Recipe) -> _Asked:
    """All maps that the recipe asks for, with those that it reads already."""
    settings, wanted, own = recipe.interpreter, recipe.features, open_features(recipe)
    blocks = range(len(own.denoiser.blocks)) if wanted.blocks is None else wanted.blocks
    steps, blocks = sorted({*wanted.steps, *settings.steps}), sorted({*blocks, *settings.blocks})
    whole = Choice.of({"steps": tuple(steps), "blocks": tuple(blocks)})
    features = DenoiserFeatures(own.denoiser, steps=steps, blocks=blocks, where=settings.where, noise=own.noise)
    return _Asked(features, whole, Choice.of({"steps": tuple(settings.steps), "blocks": tuple(settings.blocks)}))


def _compare(comparison: Comparison, own: Choice, joins: int, folder: Path) -> Results:
    rows = list(_told(comparison, own, joins, folder))
    best = max(rows, key=lambda row: row.rank)
    results = {
        "classes": list(comparison.annotations.scheme.names),
        "best": {key: list(values) for key, values in best.choice.keys},
        "measured": [
            {
                "keys": {key: list(values) for key, values in row.choice.keys},
                "channels": row.channels,
                "mean_iou": row.mean_iou,
                "iou": list(row.iou),
            }
            for row in rows
        ],
    }
    write_whole(folder / "features.json", (json.dumps(results, indent=2, allow_nan=False) + "\n").encode())
    write_whole(folder / KEYS, "\n".join(["[interpreter]", *best.choice.lines, ""]).encode())
    save_figure(features_figure(rows, comparison.whole, own), folder / "features.png")
    return results


def _told(comparison: Comparison, own: Choice, joins: int, folder: Path) -> Iterator[Measured]:
    """Every measurement, said as soon as it is known."""
    rows = compared(comparison.whole, own, joins, comparison.measure)
    for row in follow(rows, most(comparison.whole, joins), "features", "choices", folder=folder):
        score = "no class counts" if row.mean_iou is None else f"mIoU {row.mean_iou:.3f}"
        console.print(f"features: {row.choice.name}: {score}, {row.channels} channels")
        yield row

"""Stage features: which steps, blocks or layers an interpreter should read, by cross-validation over the annotated."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from label.cross_validation import folds_of
from label.fitting import labelled_pixels
from pipelines.annotated import annotated_few
from pipelines.errors import RecipeError
from pipelines.features.candidates import asked, keys_of, lines_of
from pipelines.features.choices import Choice, Measured, compared, most
from pipelines.features.comparison import Comparison, small_fitting
from pipelines.features.figure import features_figure
from pipelines.files.storage import write_whole
from pipelines.folders import feature_cells_folder, features_folder
from pipelines.progress import console, follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record, Results, once
from pipelines.stages.evaluate import excluded_classes
from pipelines.stages.figures import save_figure

KEYS = "interpreter.toml"  # what to put into the recipe


def compare_features(recipe: Recipe) -> Outcome:
    """Score single maps and greedy joins of them, and write table, chart and the keys of the best.

    Raises RecipeError for fewer than two annotated images, which nothing can be learnt and judged on, and for a recipe
    that joins several sources.
    """
    features, whole, own = asked(recipe)
    annotations, settings = annotated_few(recipe, features.image_size), small_fitting(recipe)
    labelled_pixels(annotations.masks, settings.min_class_pixels)  # or there is nothing to learn
    if (images := len(annotations.names)) < 2:
        raise RecipeError(
            f"{recipe.paths.annotated} has {images} annotated image; at least 2 are needed, since each is labelled by "
            "what was learnt from the others"
        )
    comparison = Comparison(
        features,
        whole,
        annotations,
        recipe.interpreter.upsampling,
        settings,
        len(folds_of(images, recipe.features.folds)),
        excluded_classes(recipe),
        feature_cells_folder(recipe),
    )
    return once(
        features_folder(recipe),
        comparison.inputs | {"own": own.name, "joins": recipe.features.joins},
        lambda folder: _compare(recipe, comparison, own, folder),
        clause=f"a comparison of {len(whole.places)} maps, by {images} annotated images",
        outputs=("features.json", "features.png", KEYS),
    )


def best_overrides(recipe: Recipe) -> list[str]:
    """What `--set` is given for the choice that did best in a comparison that is finished."""
    best = _choice(Record.read(features_folder(recipe)).results["best"])
    return [f"interpreter.{key}={value}".replace(" ", "") for key, value in keys_of(recipe, best).items()]


def lines(recipe: Recipe) -> list[str]:
    """The same, as the recipe has it."""
    return (features_folder(recipe) / KEYS).read_text("utf-8").splitlines()


def table(recipe: Recipe) -> Sequence[Measured]:
    """All that was measured, the best first."""
    results = Record.read(features_folder(recipe)).results["measured"]
    rows = [Measured(_choice(row["keys"]), row["channels"], row["mean_iou"], tuple(row["iou"])) for row in results]
    return sorted(rows, key=lambda row: row.rank, reverse=True)


def _choice(keys: dict[str, list[int]]) -> Choice:
    return Choice.of({key: tuple(values) for key, values in keys.items()})


def _compare(recipe: Recipe, comparison: Comparison, own: Choice, folder: Path) -> Results:
    rows = list(_told(comparison, own, recipe.features.joins, folder))
    best = max(rows, key=lambda row: row.rank).choice
    measured = [
        {"keys": row.choice.as_json, "channels": row.channels, "mean_iou": row.mean_iou, "iou": list(row.iou)}
        for row in rows
    ]
    results: Results = {
        "classes": list(comparison.annotations.scheme.names),
        "best": best.as_json,
        "measured": measured,
    }
    write_whole(folder / "features.json", (json.dumps(results, indent=2, allow_nan=False) + "\n").encode())
    write_whole(folder / KEYS, "\n".join(["[interpreter]", *lines_of(recipe, best), ""]).encode())
    save_figure(features_figure(rows, comparison.whole, own), folder / "features.png")
    return results


def _told(comparison: Comparison, own: Choice, joins: int, folder: Path) -> Iterator[Measured]:
    """Every measurement, said as soon as it is known."""
    rows = compared(comparison.whole, own, joins, comparison.measure)
    for row in follow(rows, most(comparison.whole, joins), "features", "choices", folder=folder):
        score = "no class counts" if row.mean_iou is None else f"mIoU {row.mean_iou:.3f}"
        console.print(f"features: {row.choice.name}: {score}, {row.channels} channels")
        yield row

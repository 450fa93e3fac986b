"""Stage evaluate: the interpreter and every trained network on the held-out annotated images."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import deeplab
from label import IGNORE, Annotations, Interpreter
from pipelines.annotated import annotations_digest, open_annotations
from pipelines.errors import RecipeError
from pipelines.folders import network_folder, scores_folder, sources
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record
from pipelines.stages.figures import confusion_figure, extremes_figure, save_figure
from pipelines.units.devices import device
from pipelines.units.models import Models

_BATCH = 10


def evaluate(recipe: Recipe) -> Outcome:
    """mIoU of each on paths.held_out; the scores are kept in the stage's record."""
    if recipe.paths.held_out is None:
        raise RecipeError("paths.held_out is missing; it names the annotated images to evaluate on")
    models = Models.of(recipe, device())
    held_out = open_annotations(recipe, recipe.paths.held_out, models.interpreter.features.image_size)
    if held_out.scheme.names != models.interpreter.scheme.names:
        raise RecipeError(
            f"paths.held_out has the classes {', '.join(held_out.scheme.names)}; "
            f"the interpreter was fitted on {', '.join(models.interpreter.scheme.names)}"
        )
    if (held_out.masks == IGNORE).all():
        raise RecipeError(f"paths.held_out, {recipe.paths.held_out}, has no labelled pixel to count; label some")
    folders = {
        source: [network_folder(recipe, source, seed) for seed in recipe.train.seeds] for source in sources(recipe)
    }
    trained = {source: [Record.read(folder).digest for folder in found] for source, found in folders.items()}
    inputs = {"interpreter": models.interpreter.digest, "networks": trained, "held_out": annotations_digest(held_out)}
    inputs["counting"] = ["both", excluded_classes(recipe)]
    record = Record.of(scores_folder(recipe), inputs)
    what = f"scores on {len(held_out.names)} held-out images"
    if record.found():
        return record.outcome(what, fresh=False)
    for folder in chain.from_iterable(folders.values()):
        _open_network(folder, held_out, "cpu")  # before any work: one that does not fit is said at once
    excluded, names = excluded_classes(recipe), held_out.scheme.names
    with record.making():
        masks = predicted_by_interpreter(models.interpreter, held_out)
        scores = {"interpreter": [scored(masks, held_out, excluded)]}
        _draw(record.folder, "interpreter", masks, scores["interpreter"][0], held_out)
        for source, found in folders.items():
            each = [predicted_by_network(folder, held_out) for folder in found]
            scores[source] = [scored(masks, held_out, excluded) for masks in each]
            _draw(record.folder, source, each[0], scores[source][0], held_out)
        record.results = {source: [_as_record(one) for one in runs] for source, runs in scores.items()}
        (record.folder / "scores.json").write_text(json.dumps({"classes": names} | record.results, indent=2) + "\n")
        (record.folder / "scores.md").write_text(score_page(record.results, names))
    return record.outcome(what, fresh=True)


def _as_record(scores: deeplab.Scores) -> dict[str, Any]:
    """For JSON, in which nan is no number."""
    record = asdict(scores) | {"confusion": scores.confusion.tolist()}
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in record.items()}


def excluded_classes(recipe: Recipe) -> list[int]:
    """The class whose pixels became ignored ones when the masks were read, which no mean counts."""
    ignored = recipe.classes.ignore if recipe.classes else IGNORE
    return [] if ignored == IGNORE else [ignored]


def predicted_by_interpreter(interpreter: Interpreter, held_out: Annotations) -> np.ndarray:
    """Masks of the images themselves, uint8 [n,h,w]."""
    starts = range(0, len(held_out.images), _BATCH)
    batches = (interpreter.predict(held_out.images[i : i + _BATCH]).masks for i in starts)
    return np.concatenate(list(follow(batches, len(held_out.images), "evaluate the interpreter", "images", count=len)))


def predicted_by_network(folder: Path, held_out: Annotations) -> np.ndarray:
    """Masks by the network that lies in a folder, uint8 [n,h,w]."""
    model = _open_network(folder, held_out, device())
    starts = range(0, len(held_out.images), _BATCH)
    return np.concatenate([deeplab.predict(model, held_out.images[i : i + _BATCH]) for i in starts])


def _open_network(folder: Path, held_out: Annotations, where: str) -> deeplab.DeepLab:
    """Raises NetworkError for a network that is damaged, RecipeError for one of other classes."""
    model = deeplab.load(folder, where)
    if list(model.architecture.class_names) != list(held_out.scheme.names):
        raise RecipeError(
            f"{folder} is of a network of the classes {', '.join(model.architecture.class_names)}; the held-out images "
            f"have {', '.join(held_out.scheme.names)}: train again, or name other images"
        )
    return model


def scored(masks: np.ndarray, held_out: Annotations, excluded: Sequence[int] = ()) -> deeplab.Scores:
    classes = len(held_out.scheme)
    return deeplab.score(masks, held_out.masks, classes=classes, ignore_index=IGNORE, excluded=excluded)


def _draw(folder: Path, source: str, masks: np.ndarray, scores: deeplab.Scores, held_out: Annotations) -> None:
    title = f"{source}: mIoU {scores.mean_iou:.3f}, counted as published {scores.published_mean_iou:.3f}"
    save_figure(confusion_figure(scores.confusion, held_out.scheme.names, title), folder / f"confusion-{source}.png")
    title = f"{source}: best and worst of {len(masks)}, by pixel accuracy"
    save_figure(extremes_figure(held_out, masks, title), folder / f"images-{source}.png")


def score_page(results: dict[str, list[dict[str, Any]]], names: Sequence[str]) -> str:
    """Markdown tables: the means under both countings, and the IoU of each class; mean and deviation over runs."""
    lines = ["| | mIoU | mIoU, counted as published | pixel accuracy |", "|---|---|---|---|"]
    for source, runs in results.items():
        cells = (_over(runs, key) for key in ("mean_iou", "published_mean_iou", "pixel_accuracy"))
        lines.append(f"| {source} | {' | '.join(cells)} |")
    lines += ["", f"| IoU | {' | '.join(results)} |", "|---" * (1 + len(results)) + "|"]
    for i, name in enumerate(names):
        cells = (_of_values([run["iou"][i] for run in runs]) for runs in results.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _over(runs: list[dict[str, Any]], key: str) -> str:
    return _of_values([run[key] for run in runs])


def _of_values(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return mean_and_deviation(known) if known else "-"


def mean_and_deviation(values: list[float]) -> str:
    """As "0.612 ± 0.010 (3 runs)"; the deviation is the sample's, and left out for a single run."""
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f} ({len(values)} runs)"

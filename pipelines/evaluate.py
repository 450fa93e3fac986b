"""Stage evaluate: the interpreter and every trained network on the held-out annotated images."""

import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import deeplab
from label import IGNORE, Annotations, Interpreter
from pipelines.fit_interpreter import annotations_digest, open_annotations
from pipelines.progress import follow
from pipelines.recipe import Recipe, RecipeError
from pipelines.stage import Outcome, Record, device
from pipelines.train_deeplab import network_folder, sources
from pipelines.worker import Models

_BATCH = 10


def scores_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "scores"


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
    folders = {
        source: [network_folder(recipe, source, seed) for seed in recipe.train.seeds] for source in sources(recipe)
    }
    trained = {source: [Record.read(folder).digest for folder in found] for source, found in folders.items()}
    inputs = {"interpreter": models.interpreter.digest, "networks": trained, "held_out": annotations_digest(held_out)}
    record = Record.of(scores_folder(recipe), inputs)
    what = f"scores on {len(held_out.names)} held-out images"
    if record.found():
        return record.outcome(what, fresh=False)
    with record.making():
        record.results["interpreter"] = [_as_record(_of_interpreter(models.interpreter, held_out))]
        for source, found in folders.items():
            record.results[source] = [_as_record(_of_network(f, held_out)) for f in found]
    return record.outcome(what, fresh=True)


def _as_record(scores: deeplab.Scores) -> dict[str, Any]:
    return asdict(scores) | {"confusion": scores.confusion.tolist()}


def _of_interpreter(interpreter: Interpreter, held_out: Annotations) -> deeplab.Scores:
    starts = range(0, len(held_out.images), _BATCH)
    batches = (interpreter.predict(held_out.images[i : i + _BATCH]).masks for i in starts)
    masks = list(follow(batches, len(held_out.images), "evaluate the interpreter", "images", count=len))
    classes = len(held_out.scheme)
    return deeplab.score(np.concatenate(masks), held_out.masks, classes=classes, ignore_index=IGNORE)


def _of_network(folder: Path, held_out: Annotations) -> deeplab.Scores:
    starts = range(0, len(held_out.images), _BATCH)
    batches = ((held_out.images[i : i + _BATCH], held_out.masks[i : i + _BATCH]) for i in starts)
    model = deeplab.load(folder, device())
    return deeplab.evaluate(model, batches, classes=len(held_out.scheme), ignore_index=IGNORE)


def mean_and_deviation(values: list[float]) -> str:
    """As "0.612 ± 0.010 (3 runs)"; the deviation is the sample's, and left out for a single run."""
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f} ({len(values)} runs)"

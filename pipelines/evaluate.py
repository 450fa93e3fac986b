"""Stage evaluate: the interpreter and every trained network on the held-out annotated images."""

import statistics
from collections.abc import Sequence
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
    inputs["counting"] = "both"
    record = Record.of(scores_folder(recipe), inputs)
    what = f"scores on {len(held_out.names)} held-out images"
    if record.found():
        return record.outcome(what, fresh=False)
    excluded = excluded_classes(recipe)
    with record.making():
        record.results["interpreter"] = [as_record(of_interpreter(models.interpreter, held_out, excluded))]
        for source, found in folders.items():
            record.results[source] = [as_record(of_network(f, held_out, excluded)) for f in found]
    return record.outcome(what, fresh=True)


def as_record(scores: deeplab.Scores) -> dict[str, Any]:
    """For JSON."""
    return asdict(scores) | {"confusion": scores.confusion.tolist()}


def excluded_classes(recipe: Recipe) -> list[int]:
    """The class whose pixels became ignored ones when the masks were read, which no mean counts."""
    ignored = recipe.classes.ignore if recipe.classes else IGNORE
    return [] if ignored == IGNORE else [ignored]


def of_interpreter(interpreter: Interpreter, held_out: Annotations, excluded: Sequence[int] = ()) -> deeplab.Scores:
    """Scores of an interpreter on the images themselves."""
    starts = range(0, len(held_out.images), _BATCH)
    batches = (interpreter.predict(held_out.images[i : i + _BATCH]).masks for i in starts)
    masks = list(follow(batches, len(held_out.images), "evaluate the interpreter", "images", count=len))
    classes = len(held_out.scheme)
    return deeplab.score(np.concatenate(masks), held_out.masks, classes=classes, ignore_index=IGNORE, excluded=excluded)


def of_network(folder: Path, held_out: Annotations, excluded: Sequence[int] = ()) -> deeplab.Scores:
    """Scores of the network that lies in a folder."""
    starts = range(0, len(held_out.images), _BATCH)
    batches = ((held_out.images[i : i + _BATCH], held_out.masks[i : i + _BATCH]) for i in starts)
    model, classes = deeplab.load(folder, device()), len(held_out.scheme)
    if model.architecture.classes != classes:
        raise RecipeError(
            f"{folder} is of a network of {model.architecture.classes} classes; the held-out images have {classes}"
        )
    return deeplab.evaluate(model, batches, classes=classes, ignore_index=IGNORE, excluded=excluded)


def mean_and_deviation(values: list[float]) -> str:
    """As "0.612 ± 0.010 (3 runs)"; the deviation is the sample's, and left out for a single run."""
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f} ({len(values)} runs)"

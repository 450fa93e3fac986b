"""Stage evaluate: the interpreter and every trained network on the held-out annotated images."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

import deeplab
from label import IGNORE, Annotations, Interpreter
from pipelines.annotated import annotations_digest, open_annotations
from pipelines.errors import RecipeError
from pipelines.files.storage import write_whole
from pipelines.folders import Source, network_folder, scores_folder, sources
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record, Results, once
from pipelines.stages.figures import confusion_figure, extremes_figure, save_figure
from pipelines.stages.made_with import must_be_fitted_so, must_stand_on
from pipelines.stages.scores import score_page
from pipelines.units.devices import device, set_up
from pipelines.units.models import open_interpreter

Masks = UInt8[np.ndarray, "n h w"]
_BATCH = 10


def evaluate(recipe: Recipe) -> Outcome:
    """mIoU of each on paths.held_out; the scores are kept in the stage's record."""
    if recipe.paths.held_out is None:
        raise RecipeError("paths.held_out is missing; it names the annotated images to evaluate on")
    must_be_fitted_so(recipe)
    interpreter = open_interpreter(recipe, device())
    held_out = open_annotations(recipe, recipe.paths.held_out, interpreter.features.image_size)
    if held_out.scheme.names != interpreter.scheme.names:
        raise RecipeError(
            f"paths.held_out has the classes {', '.join(held_out.scheme.names)}; "
            f"the interpreter was fitted on {', '.join(interpreter.scheme.names)}: name other images, or run "
            "`datasetddpm fit` again"
        )
    if (held_out.masks == IGNORE).all():
        raise RecipeError(f"paths.held_out, {recipe.paths.held_out}, has no labelled pixel to count; label some")
    networks = _networks(recipe)
    trained = {source: [Record.read(folder).digest for folder in folders] for source, folders in networks.items()}
    inputs = {
        "interpreter": interpreter.digest,
        "networks": trained,
        "paths": {"held_out": annotations_digest(held_out)},
        "counting": ["both", excluded_classes(recipe)],
    }
    for folder in chain.from_iterable(networks.values()):
        _open_network(folder, held_out, "cpu")  # before any work: one that does not fit is said at once
    return once(
        scores_folder(recipe),
        inputs,
        lambda folder: _evaluate(recipe, interpreter, networks, held_out, folder),
        clause=f"scores on {len(held_out.names)} held-out images",
        outputs=("scores.json", "scores.md"),
    )


def _networks(recipe: Recipe) -> dict[Source, list[Path]]:
    """The folders of the recipe's networks. Raises RecipeError for one that is missing or was trained otherwise."""
    train = recipe.train
    networks: dict[Source, list[Path]] = {source: [] for source in sources(recipe)}
    for source, folders in networks.items():
        for seed in recipe.train.seeds:
            folders.append(network_folder(recipe, source, seed))
            must_stand_on(folders[-1], train.made_with(seed), "the network", "train")
    return networks


def _evaluate(
    recipe: Recipe,
    interpreter: Interpreter,
    networks: dict[Source, list[Path]],
    held_out: Annotations,
    folder: Path,
) -> Results:
    """Score every run, draw the first of each source, and write scores.json and scores.md."""
    names, excluded = held_out.scheme.names, excluded_classes(recipe)
    results: Results = {}
    for source, runs in _predicted(interpreter, networks, held_out):
        scores = [score(masks, held_out, excluded) for masks in runs]
        _draw(folder, source, runs[0], scores[0], held_out)
        results[source] = list(map(_as_json, scores))
    content = json.dumps({"classes": names} | results, indent=2, allow_nan=False) + "\n"
    write_whole(folder / "scores.json", content.encode())
    write_whole(folder / "scores.md", score_page(results, names, recipe.train.mix).encode())
    return results


def _predicted(
    interpreter: Interpreter, networks: dict[Source, list[Path]], held_out: Annotations
) -> Iterator[tuple[str, list[Masks]]]:
    """A source at a time, with the masks of each of its runs."""
    yield "interpreter", [predicted_by_interpreter(interpreter, held_out)]
    for source, folders in networks.items():
        yield source, [predicted_by_network(folder, held_out) for folder in folders]


def _as_json(scores: deeplab.Scores) -> dict[str, Any]:
    """For JSON, in which nan is no number."""
    record = asdict(scores) | {"confusion": scores.confusion.tolist()}
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in record.items()}


def excluded_classes(recipe: Recipe) -> list[int]:
    """The class whose pixels became ignored ones when the masks were read, which no mean counts."""
    ignored = recipe.classes.ignore if recipe.classes else IGNORE
    return [] if ignored == IGNORE else [ignored]


def predicted_by_interpreter(interpreter: Interpreter, held_out: Annotations) -> Masks:
    """Masks of the images themselves."""
    starts = range(0, len(held_out.images), _BATCH)
    batches = (interpreter.predict(held_out.images[i : i + _BATCH]).masks for i in starts)
    return np.concatenate(list(follow(batches, len(held_out.images), "evaluate the interpreter", "images", count=len)))


def predicted_by_network(folder: Path, held_out: Annotations) -> Masks:
    """Masks by the network that lies in a folder."""
    where = device()
    set_up(where)
    network = _open_network(folder, held_out, where)
    starts = range(0, len(held_out.images), _BATCH)
    return np.concatenate([deeplab.predict(network, held_out.images[i : i + _BATCH]) for i in starts])


def _open_network(folder: Path, held_out: Annotations, where: str) -> deeplab.DeepLab:
    """Raises NetworkError for a network that is damaged, RecipeError for one of other classes."""
    network = deeplab.load(folder, where)
    names = network.architecture.class_names
    if list(names) != list(held_out.scheme.names):
        raise RecipeError(
            f"{folder} is of a network of the classes {', '.join(names)}; the held-out images have "
            f"{', '.join(held_out.scheme.names)}; run `datasetddpm train` again"
        )
    return network


def score(masks: Masks, held_out: Annotations, excluded: Sequence[int] = ()) -> deeplab.Scores:
    classes = len(held_out.scheme)
    return deeplab.score(masks, held_out.masks, classes=classes, ignore_index=IGNORE, excluded=excluded)


def _draw(folder: Path, source: str, masks: Masks, scores: deeplab.Scores, held_out: Annotations) -> None:
    title = f"{source}: mIoU {scores.mean_iou:.3f}, counted as published {scores.published_mean_iou:.3f}"
    save_figure(confusion_figure(scores.confusion, held_out.scheme.names, title), folder / f"confusion-{source}.png")
    title = f"{source}: best and worst of {len(masks)}, by pixel accuracy"
    save_figure(extremes_figure(held_out, masks, title), folder / f"images-{source}.png")

"""A study's cells, each measured once.

A cell is a way to segment the held-out images, with its settings and a seed. Everything runs in this process.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.model import WEIGHTS
from label import Annotations, DenoiserFeatures, FeatureSource, Interpreter
from pipelines.annotated import annotated_few, open_annotations
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.reports import each_report
from pipelines.dataset.shards import read_shards
from pipelines.digests import digest_of
from pipelines.errors import LeaseError
from pipelines.files.disk import copy_folder
from pipelines.files.lease import leased
from pipelines.files.writable import must_be_writable
from pipelines.folders import dataset_folder, interpreter_folder, network_folder, study_work
from pipelines.progress import console
from pipelines.quality.diversity import describe_images, precision_recall
from pipelines.recipe import Recipe
from pipelines.stages.evaluate import excluded_classes, predicted_by_interpreter, predicted_by_network, score
from pipelines.stages.fit import fit, like_spread
from pipelines.stages.train import train
from pipelines.study.cells import keep, missing, result
from pipelines.study.controls import RawPixels, untrained
from pipelines.study.grid import STRONG, Cell, named
from pipelines.study.mixing import make_dataset, make_sources, mixture
from pipelines.units.devices import device
from pipelines.units.models import open_denoiser, open_features

_PAUSE = 3.0  # seconds, while all cells that are missing are at work elsewhere


def measure_missing(recipe: Recipe, most: int | None = None) -> Iterator[Cell]:
    """Measure the cells that are missing, or so many of them; yield each when it is kept.

    Other processes may do the same: cells of one folder are measured one after the other, others side by side.
    """
    done = 0
    while (todo := missing(recipe)) and done != most:
        before = done
        for cell in todo:
            if done == most:
                return
            with suppress(LeaseError):  # another process is at it, or at a cell of the same folder
                if measure(recipe, cell):
                    done += 1
                    yield cell
        if done == before:
            time.sleep(_PAUSE)


def measure(recipe: Recipe, cell: Cell) -> dict[str, Any] | None:
    """Measure one cell and keep what came out; None where another process has done so since.

    Raises LeaseError where another process is at a cell of the same folder.
    """
    changed, start = _changed(recipe, cell), time.perf_counter()
    must_be_writable(changed.paths.out)
    with leased(changed.paths.out):
        if result(recipe, cell) is not None:
            return None
        console.print(f"study: {cell.name}")
        ways = {"synthetic": _synthetic, "supervised": _supervised, "mixed": _mixed, "tuned": _tuned}
        measured = ways.get(cell.kind, _interpreted)(changed, cell)
        return keep(recipe, cell, measured, time.perf_counter() - start)


def _changed(recipe: Recipe, cell: Cell) -> Recipe:
    """The cell's recipe. Cells that differ in the training or in the filter alone share a folder, and so a dataset."""
    update: dict[str, Any] = {}
    for section, keys in cell.changes.items():
        update[section] = getattr(recipe, section).changed(**keys)
    of_dataset = {section: _of_dataset(keys) for section, keys in cell.changes.items() if section != "train"}
    out = study_work(recipe, named(of_dataset) or "common")
    update["paths"] = recipe.paths.model_copy(update={"out": out, "dataset": None, "photographed": None})
    training, mix = update.get("train", recipe.train), mixture(cell.images, out)
    update["train"] = training.changed(seeds=[cell.seed], baseline=False, mix=mix)
    return recipe.model_copy(update=update)


def _of_dataset(keys: dict[str, Any]) -> dict[str, Any]:
    """Those that its candidates depend on: where all of them are kept, the filter may change."""
    changing = {"filter", "portion"} if keys.get("keep_all") else set()
    return {key: value for key, value in keys.items() if key not in changing}


def _held_out(recipe: Recipe, size: tuple[int, int]) -> Annotations:
    assert recipe.paths.held_out is not None, "grid() has checked it"
    return open_annotations(recipe, recipe.paths.held_out, size)


def _interpreted(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    """Fit an interpreter on features of the cell's kind, and label the held-out images."""
    where = "cpu" if cell.kind == "pixels" else device()
    settings = recipe.interpreter
    source = _source(recipe, cell, where)
    few, held_out = annotated_few(recipe, source.image_size), _held_out(recipe, source.image_size)
    source = like_spread(source, few)
    fitting = replace(settings.fitting, seed=cell.seed)
    interpreter = Interpreter.fit(
        source,
        few.images,
        few.masks,
        classes=few.scheme,
        settings=fitting,
        upsampling=settings.upsampling,
        device=where,
    )
    return _scores(recipe, predicted_by_interpreter(interpreter, held_out), held_out)


def _source(recipe: Recipe, cell: Cell, where: str) -> FeatureSource:
    settings = recipe.interpreter
    if cell.kind == "pixels":
        return RawPixels(open_denoiser(recipe, where).image_shape[1:])
    if cell.kind == "untrained":
        denoiser = untrained(open_denoiser(recipe, where), cell.seed)
        return DenoiserFeatures(denoiser, steps=settings.steps, blocks=settings.blocks, where=settings.where)
    return open_features(recipe, where)


def _supervised(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    """Train on the annotated images as long as on synthetic ones; no dataset is needed."""
    held_out = _held_out(recipe, open_denoiser(recipe, "cpu").image_shape[1:])
    train(recipe, only="annotated")
    folder = network_folder(recipe, "annotated", cell.seed)
    return _scores(recipe, predicted_by_network(folder, held_out), held_out)


def _synthetic(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    """Generate, train, evaluate; the seed is that of the DeepLab training, all seeds share one dataset."""
    _share_interpreter(recipe)
    make_dataset(recipe)
    held_out = _held_out(recipe, open_denoiser(recipe, "cpu").image_shape[1:])
    dataset = _dataset(recipe, held_out)
    train(recipe, only="synthetic")
    masks = predicted_by_network(network_folder(recipe, "synthetic", cell.seed), held_out)
    return _scores(recipe, masks, held_out) | dataset


def _mixed(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    """Make what is mixed, train on it, evaluate."""
    folder = _trained_on_mixture(recipe, cell)
    held_out = _held_out(recipe, open_denoiser(recipe, "cpu").image_shape[1:])
    return _scores(recipe, predicted_by_network(folder, held_out), held_out)


def _tuned(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    """Train on the annotated images a network whose encoder has learned from others before."""
    weights = _trained_on_mixture(recipe, cell) / WEIGHTS
    then = recipe.train.changed(mix=[], augmentation=STRONG, encoder_weights=str(weights))
    return _supervised(recipe.model_copy(update={"train": then}), cell)


def _trained_on_mixture(recipe: Recipe, cell: Cell) -> Path:
    """The folder of a network of the cell's images, which are made if need be."""
    _share_interpreter(recipe)
    make_sources(recipe, cell.images)
    train(recipe, only="mixed")
    return network_folder(recipe, "mixed", cell.seed)


def _share_interpreter(recipe: Recipe) -> None:
    """Fit the interpreter once for all cells that have the same one."""
    name = f"interpreter-{digest_of(recipe.interpreter.model_dump(mode='json'))[:12]}"
    shared = recipe.model_copy(
        update={"paths": recipe.paths.model_copy(update={"out": recipe.paths.out.with_name(name)})}
    )
    fit(shared)
    copy_folder(interpreter_folder(shared), interpreter_folder(recipe))


def _dataset(recipe: Recipe, held_out: Annotations) -> dict[str, Any]:
    """Seconds an image by phase, and precision and recall against the annotated and the held-out images."""
    folder, images = dataset_folder(recipe), 0
    phases: dict[str, float] = {}
    for report in each_report(take_inventory(folder)):
        images += len(report.candidates)
        for phase, seconds in report.seconds.items():
            phases[phase] = phases.get(phase, 0.0) + seconds
    settings = recipe.interpreter
    source = DenoiserFeatures(open_denoiser(recipe, device()), steps=[settings.steps[0]], blocks=settings.blocks)
    real = np.concatenate([annotated_few(recipe, source.image_size).images, held_out.images])
    samples = np.stack([sample.image for sample in islice(read_shards(folder), len(real))])
    diversity = precision_recall(describe_images(source, real), describe_images(source, samples))
    return {
        "seconds_an_image": {phase: seconds / images for phase, seconds in phases.items()},
        "precision": diversity.precision,
        "recall": diversity.recall,
        "compared": [len(real), len(samples)],
    }


def _scores(recipe: Recipe, masks: np.ndarray, held_out: Annotations) -> dict[str, Any]:
    scores = score(masks, held_out, excluded_classes(recipe))
    return {
        "mean_iou": scores.mean_iou,
        "published_mean_iou": scores.published_mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        "iou": scores.iou,
    }

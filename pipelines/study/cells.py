"""The study: a grid of cells, each measured once and kept, so that a study that was stopped goes on.

A cell is a way to segment the held-out images, with its settings and a seed. Everything runs in this process.
"""

import json
import math
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from generate.stored import StoredError, stored_tree
from label import Annotations, DenoiserFeatures, FeatureSource, Interpreter
from pipelines.annotated import annotated_few, open_annotations
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.reports import each_report
from pipelines.dataset.shards import read_shards
from pipelines.disk import copy_folder
from pipelines.errors import LeaseError, RecipeError
from pipelines.folders import dataset_folder, interpreter_folder, network_folder, study_cell, study_work
from pipelines.lease import leased
from pipelines.progress import console
from pipelines.quality.diversity import describe_images, precision_recall
from pipelines.recipe import Recipe, digest_of
from pipelines.stages.evaluate import excluded_classes, predicted_by_interpreter, predicted_by_network, score
from pipelines.stages.fit import fit, like_spread
from pipelines.stages.train import train
from pipelines.storage import write_whole
from pipelines.study.controls import RawPixels, untrained
from pipelines.study.grid import Cell, Kind, grid, named
from pipelines.study.mixing import make_dataset, make_sources, mixture
from pipelines.units.devices import device
from pipelines.units.models import open_denoiser, open_features
from pipelines.writable import must_be_writable

_PAUSE = 3.0  # seconds, while all cells that are missing are at work elsewhere
_NOT_MEASURED = {"name", "paths", "features", "study", "cluster", "train_ddpm"}
_NOT_READ: dict[Kind, set[str]] = {
    "interpreter": {"generate", "train"},
    "pixels": {"generate", "train"},
    "untrained": {"generate", "train"},
    "supervised": {"generate"},
}


def missing(recipe: Recipe) -> list[Cell]:
    """Cells that are not measured yet, each once: all of the first seed before any of the second."""
    seen: dict[str, Cell] = {}
    cells = [cell for row in grid(recipe) for cell in row.cells]
    for cell in sorted(cells, key=lambda cell: recipe.study.seeds.index(cell.seed)):
        seen.setdefault(cell.name, cell)
    return [cell for cell in seen.values() if result(recipe, cell) is None]


def result(recipe: Recipe, cell: Cell) -> dict[str, Any] | None:
    """What was measured of a cell with this recipe, or None."""
    path = study_cell(recipe, cell.name)
    if not path.is_file():
        return None
    try:
        measured = stored_tree(path.read_bytes())
    except StoredError as error:
        raise RecipeError(f"{path} is no measured cell ({error}); remove it, and it is measured again") from error
    return measured if measured.get("digest") == _digest(recipe, cell) else None


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
        ways = {"synthetic": _synthetic, "supervised": _supervised, "mixed": _mixed}
        measured = ways.get(cell.kind, _interpreted)(changed, cell)
        return keep(recipe, cell, measured, time.perf_counter() - start)


def keep(recipe: Recipe, cell: Cell, measured: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Write a cell's file, with what it was measured by, on and when."""
    kept = {key: _finite(value) for key, value in measured.items()} | {
        "digest": _digest(recipe, cell),
        "seconds": round(seconds, 1),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _commit(),
        "machine": machine(),
    }
    path = study_cell(recipe, cell.name)
    must_be_writable(path.parent)
    write_whole(path, (json.dumps(kept, indent=2, allow_nan=False) + "\n").encode())
    return kept


def _finite(value: Any) -> Any:
    """For JSON, in which nan is no number: a score that counts no class is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def machine() -> str:
    """The processor or GPU that the cells ran on, and how many cores torch used."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} thread(s)"


def _commit() -> str:
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return git.stdout.strip() if git.returncode == 0 else "unknown"


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


def _digest(recipe: Recipe, cell: Cell) -> str:
    others = _NOT_MEASURED | _NOT_READ.get(cell.kind, set())
    settings = recipe.model_dump(mode="json", exclude=others, exclude_defaults=True)
    images = {"images": cell.images} if cell.images else {}
    return digest_of({"recipe": settings, "kind": cell.kind, "seed": cell.seed, "changes": cell.changes} | images)


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
    _share_interpreter(recipe)
    make_sources(recipe, cell.images)
    held_out = _held_out(recipe, open_denoiser(recipe, "cpu").image_shape[1:])
    train(recipe, only="mixed")
    return _scores(recipe, predicted_by_network(network_folder(recipe, "mixed", cell.seed), held_out), held_out)


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

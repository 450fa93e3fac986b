"""Stage train-ddpm: a folder of unlabelled images to a diffusion model of their domain."""

import filecmp
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel
from PIL import Image

from generate import CheckpointError, Denoiser, ImageError, Schedule, read_image, sample
from generate.tensors import load_saved, must_be_finite
from generate.train import Trainee, Update, build_unet, image_paths, train, trainee
from pipelines.dataset.shards import png_bytes
from pipelines.differences import first_difference
from pipelines.errors import RecipeError
from pipelines.folders import ddpm_folder
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import CHECKPOINT, Outcome, Results, complete, keep_progress, once, part_of
from pipelines.storage import filling, remove_folder, rename, write_whole
from pipelines.units.devices import device
from pipelines.writable import must_be_writable

MODEL = "model"  # the folder of the finished one
_SHEETS = 10  # of samples, over a training
_SHOWN = 5  # mistakes that a message lists


def train_ddpm(recipe: Recipe) -> Outcome:
    """Train, or go on from the last checkpoint, and write the averaged weights in half precision to paths.denoiser."""
    target, source = _places(recipe)
    settings, folder, paths = recipe.train_ddpm, ddpm_folder(recipe), image_paths(source)
    images = {str(path.relative_to(source)): path.stat().st_size for path in paths}
    inputs = {"train_ddpm": settings.model_dump(mode="json"), "images": images}
    if not complete(folder, inputs):
        checkpoint = part_of(folder, inputs) / CHECKPOINT
        if checkpoint.is_file():
            _must_be_of(checkpoint, inputs)
        else:
            _refuse_broken(paths)
        must_be_writable(target.parent)
    clause = f"a diffusion model after {settings.training.updates} updates"
    outcome = once(folder, inputs, partial(_train, recipe, paths, inputs), clause=clause, outputs=(f"{MODEL}/**/*",))
    _put_model(folder, target)
    return replace(outcome, where=target)


def _train(recipe: Recipe, paths: list[Path], inputs: dict[str, Any], folder: Path) -> Results:
    settings, checkpoint = recipe.train_ddpm, folder / CHECKPOINT
    training, schedule = settings.training, Schedule.named(settings.noise_schedule, settings.prediction)
    unet = build_unet(settings.network, training.seed)
    unet.to(torch.device(device()))  # type: ignore[call-overload]
    state = trainee(unet, training)
    state.origin = inputs
    if checkpoint.is_file():
        state.load(checkpoint)
    _write_sheet_if_due(state, schedule, training.updates, folder)  # where a kill came before it
    updates = train(state, schedule, paths, training, checkpoint)
    for update in _shown(updates, recipe, state.done, len(paths), folder):
        if update.number % training.checkpoint_every == 0:
            keep_progress(folder, update.number, training.updates, "update")
        _write_sheet_if_due(state, schedule, training.updates, folder)
    model = averaged(state, schedule)
    model.unet.half()
    must_be_finite(model.unet.state_dict(), "the trained model, in half precision")
    model.save_pretrained(folder / MODEL)
    return {"updates": state.done}


def _write_sheet_if_due(state: Trainee, schedule: Schedule, updates: int, folder: Path) -> None:
    path, is_due = folder / f"sheet-{state.done:07d}.png", state.done % max(1, updates // _SHEETS) == 0
    if state.done and (is_due or state.done == updates) and not path.is_file():
        write_sheet(averaged(state, schedule), path)


def _must_be_of(checkpoint: Path, inputs: dict[str, Any]) -> None:
    """Raises RecipeError for a file that is no checkpoint, or one of other settings or images."""
    anew = f"remove {checkpoint.parent} to train anew"
    try:
        origin = load_saved(checkpoint, mmap=True)["origin"]
    except (CheckpointError, LookupError, TypeError) as error:
        raise RecipeError(f"{checkpoint} is no checkpoint of train-ddpm, or is damaged; {anew}") from error
    if difference := first_difference(origin, inputs):
        raise RecipeError(f"{checkpoint} is of another training: {difference}; {anew}, or restore what it was")


def _put_model(folder: Path, target: Path) -> None:
    """Copy the finished model to paths.denoiser; what lies there and was not made here stays beside it."""
    model = folder / MODEL
    if _same(model, target):
        return
    must_be_writable(target.parent)
    with filling(target) as part:
        shutil.copytree(model, part)
        if any(_same(kept, target) for kept in folder.parent.glob(f"{folder.name}*/{MODEL}")):
            remove_folder(target)
        elif target.exists():
            rename(target, target.with_name(f"{target.name}@{time.strftime('%Y%m%d-%H%M%S')}"))


def _same(model: Path, target: Path) -> bool:
    """Whether two folders hold the same bytes under the same names."""
    one, other = ({p.relative_to(place) for p in place.rglob("*") if p.is_file()} for place in (model, target))
    return one == other and not any(filecmp.cmpfiles(model, target, one, shallow=False)[1:])


def _places(recipe: Recipe) -> tuple[Path, Path]:
    """Where the model goes, and where its images are. Raises RecipeError where the recipe does not say."""
    target, source = recipe.paths.denoiser, recipe.paths.unlabelled
    if isinstance(target, str) or target.is_file():
        raise RecipeError(f"paths.denoiser is {target}; the model is written to a folder of this machine, name one")
    if source is None:
        raise RecipeError("paths.unlabelled is missing; it names the folder of images to train on")
    return target, source


def _shown(updates: Iterator[Update], recipe: Recipe, done: int, images: int, folder: Path) -> Iterator[Update]:
    training = recipe.train_ddpm.training

    def note(update: Update) -> str:
        return f"epoch {update.number * training.batch_size / images:.1f}, loss {update.loss:.4f}"

    return follow(updates, training.updates, "train-ddpm", "updates", before=done, note=note, folder=folder)


def _refuse_broken(paths: list[Path]) -> None:
    """Read every image once before the first update, rather than end in the middle of an epoch."""
    mistakes = [wrong for wrong in follow(map(_mistake, paths), len(paths), "check the images", "images") if wrong]
    if mistakes:
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise RecipeError(f"paths.unlabelled: {'; '.join(mistakes[:_SHOWN])}{more}: repair or remove what is broken")


def _mistake(path: Path) -> str | None:
    try:
        read_image(path)
    except ImageError as error:
        return str(error)
    return None


def averaged(state: Trainee, schedule: Schedule) -> Denoiser:
    """The network with the running average of its weights; the trained ones stay as they are."""
    unet = UNet2DModel.from_config(state.unet.config)
    assert isinstance(unet, UNet2DModel)
    unet.to(state.unet.device)  # type: ignore[call-overload]
    state.ema.copy_to(unet.parameters())
    return Denoiser(unet, schedule, digest="in training")


def write_sheet(denoiser: Denoiser, path: Path, rows: int = 4, columns: int = 8) -> None:
    """A sheet of samples, always of the same seeds."""
    seeds = range(rows * columns)
    images = np.concatenate(list(sample(denoiser, seeds, run_seed=0, steps=20, batch_size=16)))
    _, height, width, _ = images.shape
    sheet = images.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    write_whole(path, png_bytes(Image.fromarray(sheet)))

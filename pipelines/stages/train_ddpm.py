"""Stage train-ddpm: a folder of unlabelled images to a diffusion model of their domain."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel
from PIL import Image

from generate import Denoiser, ImageError, Schedule, read_image, sample
from generate.train import Trainee, Update, build_unet, image_paths, train, trainee
from pipelines.dataset.shards import png_bytes
from pipelines.errors import RecipeError
from pipelines.folders import ddpm_folder
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import RECORD, Outcome, Results, once, recorded
from pipelines.storage import write_whole
from pipelines.units.devices import device

CHECKPOINT = "checkpoint.pt"
_SHEETS = 10  # of samples, over a training
_SHOWN = 5  # mistakes that a message lists


def train_ddpm(recipe: Recipe) -> Outcome:
    """Train, or go on from the last checkpoint, and write the averaged weights in half precision to paths.denoiser."""
    target, source = _places(recipe)
    settings, folder, paths = recipe.train_ddpm, ddpm_folder(recipe), image_paths(source)
    inputs = {"settings": settings.model_dump(mode="json"), "images": [p.name for p in paths]}
    if not target.is_dir():
        (folder / RECORD).unlink(missing_ok=True)  # it tells of a model that is gone
    if not recorded(folder, inputs) and not (folder / CHECKPOINT).is_file():
        _refuse_broken(paths)
    clause = f"a diffusion model after {settings.training.updates} updates"
    return replace(once(folder, inputs, lambda: _train(recipe, paths, target), clause=clause), where=target)


def _train(recipe: Recipe, paths: list[Path], target: Path) -> Results:
    settings, folder = recipe.train_ddpm, ddpm_folder(recipe)
    training, checkpoint = settings.training, folder / CHECKPOINT
    unet = build_unet(settings.network, training.seed)
    unet.to(torch.device(device()))  # type: ignore[call-overload]
    state = trainee(unet, training)
    schedule = Schedule.named(settings.noise_schedule, settings.prediction)
    if checkpoint.is_file():
        state.load(checkpoint)
    sheet_every = max(1, training.updates // _SHEETS)
    for update in _shown(train(state, schedule, paths, training, checkpoint), recipe, state.done, len(paths)):
        if update.number % sheet_every == 0 or update.number == training.updates:
            write_sheet(averaged(state, schedule), folder / f"sheet-{update.number:07d}.png")
    model = averaged(state, schedule)
    model.unet.half()
    model.save_pretrained(target)
    return {"updates": state.done}


def _places(recipe: Recipe) -> tuple[Path, Path]:
    """Where the model goes, and where its images are. Raises RecipeError where the recipe does not say."""
    target, source = recipe.paths.denoiser, recipe.paths.unlabelled
    if isinstance(target, str):
        raise RecipeError(f"paths.denoiser is {target}; the model is written to a folder of this machine, name one")
    if source is None:
        raise RecipeError("paths.unlabelled is missing; it names the folder of images to train on")
    return target, source


def _shown(updates: Iterator[Update], recipe: Recipe, done: int, images: int) -> Iterator[Update]:
    training, folder = recipe.train_ddpm.training, ddpm_folder(recipe)

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

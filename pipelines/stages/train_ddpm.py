"""Stage train-ddpm: a folder of unlabelled images to a diffusion model of their domain."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel
from PIL import Image

from generate import Denoiser, ImageError, Schedule, read_image, sample
from generate.train import Trainee, image_paths, train, trainee
from pipelines.dataset.shards import png_bytes
from pipelines.errors import RecipeError
from pipelines.folders import ddpm_folder
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import RECORD, Outcome, Results, once, recorded
from pipelines.sections import TrainDDPMSection
from pipelines.storage import write_whole
from pipelines.units.devices import device

CHECKPOINT = "checkpoint.pt"
_SHOWN = 5  # mistakes that a message lists


def train_ddpm(recipe: Recipe) -> Outcome:
    """Train, or go on from the last checkpoint, and write the averaged weights in half precision to paths.denoiser."""
    target = recipe.paths.denoiser
    if isinstance(target, str):
        raise RecipeError(f"paths.denoiser is {target}; the model is written to a folder of this machine, name one")
    if recipe.paths.unlabelled is None:
        raise RecipeError("paths.unlabelled is missing; it names the folder of images to train on")
    settings = recipe.train_ddpm
    try:
        paths = image_paths(recipe.paths.unlabelled)
    except ValueError as error:
        raise RecipeError(f"paths.unlabelled: {error}") from error
    inputs = {"settings": settings.model_dump(mode="json"), "images": [p.name for p in paths]}
    folder = ddpm_folder(recipe)
    if not target.is_dir():
        (folder / RECORD).unlink(missing_ok=True)  # it tells of a model that is gone
    if not recorded(folder, inputs) and not (folder / CHECKPOINT).is_file():
        _refuse_broken(paths)
    clause = f"a diffusion model after {settings.updates} updates"
    return replace(once(folder, inputs, lambda: _train(recipe, paths, target), clause=clause), where=target)


def _train(recipe: Recipe, paths: list[Path], target: Path) -> Results:
    settings, folder = recipe.train_ddpm, ddpm_folder(recipe)
    checkpoint = folder / CHECKPOINT
    torch.manual_seed(settings.seed)
    unet = build_unet(settings)
    unet.to(torch.device(device()))  # type: ignore[call-overload]
    state = trainee(unet, settings.training)
    schedule = Schedule.named(settings.noise_schedule, settings.prediction)
    if checkpoint.is_file():
        state.load(checkpoint)
    updates = train(state, schedule, paths, settings.training, checkpoint)
    for update in follow(
        updates,
        (settings.updates - state.done) * settings.batch_size,
        "train-ddpm",
        "images",
        count=lambda _: settings.batch_size,
        note=lambda u: f"update {u.number}, loss {u.loss:.4f}",
    ):
        if update.number % settings.sheet_every == 0 or update.number == settings.updates:
            write_sheet(averaged(state, schedule), folder / f"sheet-{update.number:07d}.png")
    model = averaged(state, schedule)
    model.unet.half()
    model.save_pretrained(target)
    return {"updates": state.done}


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


def build_unet(settings: TrainDDPMSection) -> UNet2DModel:
    """A fresh network; its weights come from torch's global generator."""
    resolutions = [settings.size // 2**level for level in range(len(settings.channels))]
    attends = [resolution in settings.attention for resolution in resolutions]
    unet = UNet2DModel(
        sample_size=settings.size,
        layers_per_block=settings.layers,
        block_out_channels=tuple(settings.channels),
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        attention_head_dim=settings.head_channels,
        norm_num_groups=settings.norm_groups,
    )
    unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return unet


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

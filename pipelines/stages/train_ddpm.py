"""Stage train-ddpm: a folder of unlabelled images to a diffusion model of their domain."""

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel
from PIL import Image

from generate import Denoiser, ImageError, Schedule, read_image, sample
from generate.train import Trainee, image_paths, train, trainee
from pipelines.errors import RecipeError
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record
from pipelines.sections import TrainDDPMSection
from pipelines.units.devices import device

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
    folder = recipe.paths.out / "train-ddpm"
    record = Record.of(folder, inputs)
    if record.found() and target.is_dir():
        return Outcome("a diffusion model", target, record.seconds, fresh=False)
    checkpoint = folder / "checkpoint.pt"
    if not checkpoint.is_file():
        _refuse_broken(paths)
    torch.manual_seed(settings.seed)
    unet = build_unet(settings)
    unet.to(torch.device(device()))  # type: ignore[call-overload]
    state = trainee(unet, settings.training)
    schedule = Schedule.named(settings.noise_schedule, settings.prediction)
    if checkpoint.is_file():
        state.load(checkpoint)
    with record.making():
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
        record.results = {"updates": state.done}
    return Outcome(f"a diffusion model after {state.done} updates", target, record.seconds, fresh=True)


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
    Image.fromarray(sheet).save(path)

"""A diffusion model in training: one worker's way from the last checkpoint to the last update, and what it shows."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel

from deeplab.parallel import rank, sum_gradients, summed, workers
from generate import Denoiser, Schedule
from generate.checkpoint import check_portable, schedule_of
from generate.guided_flags import TRAINED, parse_flags
from generate.pictures import Picture
from generate.tensors import must_be_finite
from generate.train import Trainee, Update, Workers, build_unet, train, trainee
from generate.trainee import build_published
from pipelines.errors import RecipeError
from pipelines.files.refusals import without_secrets
from pipelines.progress import follow
from pipelines.record import CHECKPOINT, keep_progress
from pipelines.sections.train_ddpm import TrainDDPMSection
from pipelines.training import events
from pipelines.training.events import Scalars
from pipelines.training.sheets import draw_sheet, is_due
from pipelines.units.devices import device, set_up
from pipelines.units.weights import local_weights

MODEL = "model"  # the folder of the finished one
_NAMED: tuple[Any, ...] = ("linear", "cosine")


@dataclass(frozen=True)
class Painting:
    """All that a worker needs, wherever it is."""

    settings: TrainDDPMSection
    pictures: list[Picture]
    inputs: dict[str, Any]  # of the stage, by which its checkpoint is known again
    folder: Path


def paint(painting: Painting, stop: Callable[[], bool] = lambda: False) -> None:
    """Go on to the last update, or to where `stop` says; the first worker keeps all that is kept."""
    settings, checkpoint = painting.settings.training, painting.folder / CHECKPOINT
    where = device()
    set_up(where)
    unet, schedule = begun(painting.settings)
    unet.to(torch.device(where))  # type: ignore[call-overload]
    state = trainee(unet, settings)
    state.origin = painting.inputs
    if checkpoint.is_file():
        state.load(checkpoint)
    group = Workers(rank(), workers(), sum_gradients, summed)
    updates = train(state, schedule, painting.pictures, settings, checkpoint, workers=group, stop=stop)
    if group.rank != 0:
        for _ in updates:
            pass
        return
    _keep(painting, state, schedule, updates)


def _keep(painting: Painting, state: Trainee, schedule: Schedule, updates: Iterator[Update]) -> None:
    """The first worker's own: progress, logs, sheets and, after the last update, the model in half precision."""
    settings, folder = painting.settings.training, painting.folder
    with events.opened(folder, state.done) as log:
        _draw_if_due(painting, state, schedule, log)  # where a kill came before it
        begin, first = time.perf_counter(), state.done
        for update in _shown(painting, updates, state.done):
            log.add("train/loss", update.loss, update.number)
            log.add("train/learning_rate", update.learning_rate, update.number)
            images = (update.number - first) * settings.batch_size
            log.add("speed/images_per_second", images / (time.perf_counter() - begin), update.number)
            if update.number % settings.checkpoint_every == 0:
                keep_progress(folder, update.number, settings.updates, "update")
            _draw_if_due(painting, state, schedule, log)
    if state.done < settings.updates:
        keep_progress(folder, state.done, settings.updates, "update")
        return
    model = averaged(state, schedule)
    model.unet.half()
    must_be_finite(model.unet.state_dict(), "the trained model, in half precision")
    model.save_pretrained(folder / MODEL)


def begun(settings: TrainDDPMSection) -> tuple[UNet2DModel, Schedule]:
    """The network before its first update, on the CPU in float32, with its schedule.

    Raises RecipeError for a model that cannot be trained here, and for keys that contradict it.
    """
    seed = settings.training.seed
    if settings.init is not None:
        opened = Denoiser.from_pretrained(local_weights(settings.init), flags=settings.init_flags)
        unet, schedule, name = opened.unet, opened.schedule, f"{without_secrets(str(settings.init))}"
    elif settings.preset is not None:
        flags = parse_flags(TRAINED[settings.preset])
        unet, schedule, name = build_published(flags, seed), schedule_of(flags), f"preset {settings.preset}"
    else:
        return build_unet(settings.network, seed), Schedule.named(settings.noise_schedule, settings.prediction)
    if not isinstance(unet.config["sample_size"], int):
        raise RecipeError(f"{name} has images of {unet.config['sample_size']}; train-ddpm trains on square ones alone")
    _must_agree(settings, facts_of(unet, schedule), name)
    check_portable(unet, schedule)
    return unet, schedule


def facts_of(unet: UNet2DModel, schedule: Schedule) -> dict[str, Any]:
    """A network and its schedule by the keys of [train_ddpm], as far as these can say it."""
    config, attends = unet.config, enumerate(unet.config["down_block_types"])
    side, widths = config["sample_size"], tuple(config["block_out_channels"])
    known = [name for name in _NAMED if len(schedule) == 1000 and _is_named(schedule, name)]
    return {
        "size": side,
        "channels": widths,
        "layers": config["layers_per_block"],
        "attention": tuple(side // 2**level for level, kind in attends if "Attn" in kind),
        "head_channels": config["attention_head_dim"],
        "norm_groups": config["norm_num_groups"],
        "prediction": schedule.prediction,
        "noise_schedule": known[0] if known else "another",
    }


def _is_named(schedule: Schedule, name: Any) -> bool:
    return torch.allclose(schedule.betas, Schedule.named(name, "epsilon").betas, rtol=1e-3)


def _must_agree(settings: TrainDDPMSection, facts: dict[str, Any], name: str) -> None:
    for key, value in settings.given_of_network.items():
        if facts[key] != value:
            raise RecipeError(f"train_ddpm.{key} is {value}, but that of {name} is {facts[key]}; leave the key out")


def _draw_if_due(painting: Painting, state: Trainee, schedule: Schedule, log: Scalars) -> None:
    settings, folder = painting.settings, painting.folder
    if not is_due(state.done, settings.training.updates, folder):
        return
    likeness = draw_sheet(averaged(state, schedule), painting.pictures, settings.compared, state.done, folder)
    if likeness is not None:
        log.add("quality/precision", likeness.precision, state.done)
        log.add("quality/recall", likeness.recall, state.done)


def _shown(painting: Painting, updates: Iterator[Update], done: int) -> Iterator[Update]:
    settings, images = painting.settings.training, len(painting.pictures)

    def note(update: Update) -> str:
        return f"epoch {update.number * settings.batch_size / images:.1f}, loss {update.loss:.4f}"

    return follow(updates, settings.updates, "train-ddpm", "updates", before=done, note=note, folder=painting.folder)


def averaged(state: Trainee, schedule: Schedule) -> Denoiser:
    """The network with the running average of its weights; the trained ones stay as they are."""
    unet = copy.deepcopy(state.unet)
    state.ema.copy_to(unet.parameters())
    return Denoiser(unet, schedule, digest="in training")

"""Open other people's weights as a network and a schedule. Never unpickles anything."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from generate.schedule import Schedule

WEIGHTS = "diffusion_pytorch_model.safetensors"


class CheckpointError(ValueError):
    """A checkpoint that is missing, cut short, or not of the shape that its configuration states."""


def open_diffusers(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[UNet2DModel, Schedule, str]:
    """The network, its schedule and the sha256 of both from a folder as DDPMPipeline.save_pretrained writes it.

    The files may stand in unet/ and scheduler/, or all in the folder itself.
    """
    config_path = _one_of(folder, "unet/config.json", "config.json")
    scheduler_path = _one_of(folder, "scheduler/scheduler_config.json", "scheduler_config.json")
    weights_path = _one_of(folder, f"{config_path.parent.name}/{WEIGHTS}", WEIGHTS)
    config, scheduler = _read_json(config_path), _read_json(scheduler_path)
    try:
        with torch.device("meta"):
            unet = UNet2DModel.from_config(config)
        schedule = Schedule.from_diffusers(scheduler)
        weights = load_file(weights_path, device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{weights_path} cannot be read ({error}); it is cut short or no safetensors file"
        ) from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} does not describe a UNet2DModel with a DDPM schedule: {error}") from error
    assert isinstance(unet, UNet2DModel)
    _check_shapes(unet, weights, weights_path)
    unet.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, assign=True)
    return unet, schedule, _digest(config_path, scheduler_path, weights_path)


def _one_of(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; a diffusers folder with unet/ and scheduler/ is needed")
    raise CheckpointError(f"{folder} holds no {names[0]}; a diffusers folder with unet/ and scheduler/ is needed")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error


def _check_shapes(unet: UNet2DModel, weights: dict[str, Tensor], path: Path) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    came = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in wanted.keys() | came.keys() if wanted.get(name) != came.get(name))
    if wrong:
        rows = [f"{name}: file {came.get(name, 'lacks it')}, network {wanted.get(name, 'has none')}" for name in wrong]
        raise CheckpointError(
            f"{path} is of another shape than config.json says: {len(wrong)} tensors differ ({'; '.join(rows[:3])})"
        )


def _digest(*paths: Path) -> str:
    """sha256 over the files' contents; where they lie does not matter."""
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()

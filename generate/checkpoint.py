"""Open other people's weights as a network and a schedule."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from torch import Tensor

from generate.errors import CheckpointError
from generate.guided import Shapes, build_unet, layout, shown_flags, split, structure_of
from generate.guided_flags import PRESETS, FlagError, Flags, GuidedFlags, parse_flags
from generate.schedule import Schedule
from generate.tensors import load_safetensors, load_saved

Opened = tuple[UNet2DModel, Schedule, str]

WEIGHTS = "diffusion_pytorch_model.safetensors"
OLD_WEIGHTS = "diffusion_pytorch_model.bin"
STATE_DICTS = (".pt", ".pth")
_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SLICES = 16  # a file is mapped this many times, a part after the other, so that its pages do not pile up in memory
_SHOWN = 3  # tensors that a message names


def open_checkpoint(source: str | Path, flags: Flags | None, device: torch.device, dtype: torch.dtype) -> Opened:
    """The network, its schedule and a digest of both, from a state_dict with flags, a diffusers folder or a Hub id.

    Without flags, a state_dict that is called like a preset (lsun_horse.pt) has that preset's. Raises CheckpointError.
    """
    path = Path(source)
    if path.suffix in STATE_DICTS:
        if flags is None and path.stem not in PRESETS:
            raise CheckpointError(
                f"{path} needs its flags: the published command line, a mapping, or a preset ({', '.join(PRESETS)})"
            )
        try:
            parsed = parse_flags(path.stem if flags is None else flags)
        except FlagError as error:
            raise CheckpointError(f"{path}: {error}") from error
        return open_guided(path, parsed, device, dtype)
    if flags is not None:
        raise CheckpointError(
            f"flags belong to a guided-diffusion state_dict (.pt); {source} is opened by its own config"
        )
    if not path.exists() and _HUB_ID.fullmatch(str(source)):
        path = _from_hub(str(source))
    return open_diffusers(path, device, dtype)


def open_guided(path: Path, flags: GuidedFlags, device: torch.device, dtype: torch.dtype) -> Opened:
    """Convert a state_dict tensor by tensor: memory grows by the network, in `dtype`, and a sixteenth of the file."""
    unet = build_unet(flags)
    rules, wanted = layout(flags, unet), {name: tensor.shape for name, tensor in unet.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in _state_dict(path).items()}
    _check_fit(path, flags, {name: rule.shape for name, rule in rules.items()}, shapes)
    converted: dict[str, Tensor] = {}
    labels: Tensor | None = None
    for name, tensor in _tensors(path, list(shapes)):
        if name == "label_emb.weight":
            labels = tensor.clone()
            continue
        for target, part in zip(rules[name].targets, split(tensor, rules[name], flags), strict=True):
            converted[target] = part.reshape(wanted[target]).to(device, dtype, copy=True)
    if labels is not None:  # the class's embedding is added to the time's, so the bias of the time's can hold it
        assert flags.class_label is not None
        converted["time_embedding.linear_2.bias"] += labels[flags.class_label].to(device, dtype)
    unet.load_state_dict(converted, assign=True)
    return unet, schedule_of(flags), _digest(path, settings=asdict(flags))


def schedule_of(flags: GuidedFlags) -> Schedule:
    """The noise schedule that a checkpoint's flags describe."""
    fixed = "fixed_small" if flags.sigma_small else "fixed_large"
    return Schedule.named(
        flags.noise_schedule,
        "sample" if flags.predict_xstart else "epsilon",
        flags.diffusion_steps,
        variance="learned_range" if flags.learn_sigma else fixed,
        time_scale=1000 / flags.diffusion_steps if flags.rescale_timesteps else 1.0,
    )


def _check_fit(path: Path, flags: GuidedFlags, wanted: Shapes, came: Shapes) -> None:
    if flags.class_label is not None and (labels := came.get("label_emb.weight")):
        if flags.class_label >= labels[0]:
            raise CheckpointError(f"{path} knows classes 0 to {labels[0] - 1}; class_label {flags.class_label} is none")
        wanted = {**wanted, "label_emb.weight": (labels[0], 4 * flags.num_channels)}
    wrong = _differences(wanted, came)
    if not wrong:
        return
    given = shown_flags(flags)
    shown = {name: value for name, value in structure_of(came, flags.image_size).items() if value != given[name]}
    advice = " ".join(f"--{name} {value}" for name, value in shown.items())
    raise CheckpointError(
        f"{path} does not fit its flags: {wrong}; "
        + (f"its shapes say {advice}" if advice else "no flag explains it, so it may be another kind of checkpoint")
    )


def _state_dict(path: Path, *, mmap: bool = True) -> dict[str, Tensor]:
    """A file's tensors by name, not yet read where it can be mapped. Raises CheckpointError for anything else."""
    state = load_saved(path, mmap=mmap)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        content = ", ".join(map(repr, list(state)[:_SHOWN])) if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"{path} is no state_dict, which maps names to tensors; it holds {content}")
    return state


def _tensors(path: Path, names: list[str]) -> Iterator[tuple[str, Tensor]]:
    """Each tensor once; valid until the next is asked for."""
    length = -(-len(names) // _SLICES)
    for start in range(0, len(names), length):
        state = _state_dict(path)
        for name in names[start : start + length]:
            yield name, state.pop(name)


def _from_hub(name: str) -> Path:
    """The folder of a Hub repository's snapshot; without a network, the one in the local cache."""
    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json", f"*{WEIGHTS}"]))
        if not any(folder.rglob(WEIGHTS)):
            folder = Path(snapshot_download(name, allow_patterns=["*.json", f"*{OLD_WEIGHTS}"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{name} is no folder here, and as a Hub id it is neither cached nor reachable ({reason})"
        ) from error
    return folder


def open_diffusers(folder: Path, device: torch.device, dtype: torch.dtype) -> Opened:
    """From a folder as DDPMPipeline.save_pretrained writes it, or with all files in the folder itself."""
    config_path = _first_of(folder, "unet/config.json", "config.json")
    scheduler_path = _first_of(folder, "scheduler/scheduler_config.json", "scheduler_config.json")
    network = config_path.parent
    weights_path = network / OLD_WEIGHTS if (network / OLD_WEIGHTS).is_file() else network / WEIGHTS
    if (network / WEIGHTS).is_file() or not weights_path.is_file():
        weights_path = _first_of(folder, f"{network.name}/{WEIGHTS}", WEIGHTS)
    config, scheduler = _read_json(config_path), _read_json(scheduler_path)
    try:
        with torch.device("meta"):
            unet = UNet2DModel.from_config(config)
        schedule = Schedule.from_diffusers(scheduler)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} does not describe a UNet2DModel with a DDPM schedule: {error}") from error
    assert isinstance(unet, UNet2DModel)
    weights = {_renamed(name): tensor for name, tensor in _weights(weights_path, device).items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    wrong = _differences(wanted, {name: tuple(tensor.shape) for name, tensor in weights.items()})
    if wrong:
        raise CheckpointError(f"{weights_path} is of another shape than config.json says: {wrong}")
    unet.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, assign=True)
    return unet, schedule, _digest(config_path, scheduler_path, weights_path)


def check_portable(unet: UNet2DModel, schedule: Schedule) -> None:
    """Raise CheckpointError for a network that diffusers would not build again from its configuration."""
    with torch.device("meta"):
        again = UNet2DModel.from_config(unet.config)
    assert isinstance(again, UNet2DModel)
    lost = []
    if schedule.time_scale != 1:
        lost.append(f"rescale_timesteps with {len(schedule)} steps")
    if unet.time_proj.num_channels != again.time_proj.num_channels:
        lost.append("a time embedding of another width than the first level (channel_mult does not start with 1)")
    if _heads(unet) != _heads(again):
        lost.append("num_heads with attention at levels of several widths")
    if lost:
        raise CheckpointError(f"a diffusers folder cannot hold this network: {'; '.join(lost)}; use its .pt with flags")


def _heads(unet: UNet2DModel) -> list[int]:
    return [module.heads for module in unet.modules() if isinstance(module, Attention)]


def _weights(path: Path, device: torch.device) -> dict[str, Tensor]:
    if path.name == OLD_WEIGHTS:
        return {name: tensor.to(device) for name, tensor in _state_dict(path, mmap=False).items()}
    return load_safetensors(path, device)


def _renamed(name: str) -> str:
    """Attention layers of diffusers before 0.15 under their names of today."""
    for old, new in _OLD_ATTENTION.items():
        name = name.replace(old, new)
    return name


def _first_of(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is not a folder; a diffusers folder with unet/ and scheduler/, a Hub id, or a .pt is needed"
        )
    raise CheckpointError(f"{folder} holds no {names[0]}; a diffusers folder with unet/ and scheduler/ is needed")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error


def _differences(wanted: Shapes, came: Shapes) -> str:
    """The first tensors that are missing, left over or of another shape; empty when there are none."""
    wrong = sorted(name for name in wanted.keys() | came.keys() if wanted.get(name) != came.get(name))
    rows = [f"{name}: file {came.get(name, 'lacks it')}, network {wanted.get(name, 'has none')}" for name in wrong]
    return f"{len(wrong)} tensors differ ({'; '.join(rows[:_SHOWN])})" if wrong else ""


def _digest(*paths: Path, settings: dict[str, Any] | None = None) -> str:
    """sha256 over the files' contents and the settings; where the files lie does not matter."""
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    if settings is not None:
        whole.update(json.dumps(settings, sort_keys=True).encode())
    return whole.hexdigest()

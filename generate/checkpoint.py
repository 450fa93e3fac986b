"""Open other people's weights as a network and a schedule."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from generate.errors import CheckpointError
from generate.guided import Shapes, build_unet, layout, shown_flags, split, structure_of
from generate.guided_flags import Flags, GuidedFlags
from generate.identity import CONSISTENCY, OLD_WEIGHTS, DiffusersFiles, StateDict, locate, read_json
from generate.schedule import Schedule
from generate.shape import shape_of
from generate.tensors import load_safetensors, load_saved, must_be_finite

# What diffusers was seen to raise of a configuration in which one value was changed.
UNBUILT = (
    *(TypeError, ValueError, LookupError, AttributeError, RuntimeError, ArithmeticError),
    *(NameError, AssertionError, MemoryError),
)

Opened = tuple[UNet2DModel, Schedule, str]

_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
_SLICES = 16  # a file is mapped this many times, a part after the other, so that its pages do not pile up in memory
_SHOWN = 3  # tensors that a message names


def open_checkpoint(source: str | Path, flags: Flags | None, device: torch.device, dtype: torch.dtype) -> Opened:
    """The network, its schedule and a digest of both, from a state_dict with flags, a diffusers folder or a Hub id.

    Without flags, a state_dict that is called like a preset (lsun_horse.pt) has that preset's. Raises CheckpointError.
    """
    files = locate(source, flags)
    if isinstance(files, StateDict):
        unet, schedule = open_guided(files.path, files.flags, device, dtype)
    else:
        unet, schedule = open_diffusers(files, device, dtype)
    return unet, schedule, files.digest()


def open_guided(
    path: Path, flags: GuidedFlags, device: torch.device, dtype: torch.dtype, *, attention_sides: int = 1
) -> tuple[UNet2DModel, Schedule]:
    """Convert a state_dict tensor by tensor: memory grows by the network, in `dtype`, and a sixteenth of the file."""
    unet = build_unet(flags)
    rules = layout(flags, unet, attention_sides=attention_sides)
    wanted = {name: tensor.shape for name, tensor in unet.state_dict().items()}
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
    must_be_finite(converted, path)
    unet.load_state_dict(converted, assign=True)
    return unet, schedule_of(flags)


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
    wrong = differences(wanted, came)
    if not wrong:
        return
    given = shown_flags(flags)
    try:
        structure = structure_of(came, flags.image_size)
    except (LookupError, ArithmeticError):  # its tensors have sides that no network's have
        structure = {}
    shown = {name: value for name, value in structure.items() if value != given[name]}
    advice = " ".join(f"--{name} {value}" for name, value in shown.items())
    raise CheckpointError(
        f"{path} does not fit its flags: {wrong}; "
        + (f"its shapes say {advice}" if advice else "no flag explains it, so it may be another kind of checkpoint")
    )


def _state_dict(path: Path, *, mmap: bool = True) -> dict[str, Tensor]:
    """A file's tensors by name, not yet read where it can be mapped. Raises CheckpointError for anything else."""
    state = load_saved(path, mmap=mmap)
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
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


def open_diffusers(files: DiffusersFiles, device: torch.device, dtype: torch.dtype) -> tuple[UNet2DModel, Schedule]:
    """The network with the DDPM's schedule that lies beside it."""
    scheduler = read_json(files.scheduler)
    files.timesteps()
    if scheduler.get("_class_name") == CONSISTENCY:
        raise CheckpointError(
            f"{files.folder} is a consistency model, which only paints; name it in paths.painter with "
            'painter.kind = "consistency"'
        )
    with _describing(files, "a UNet2DModel with a DDPM schedule"):
        schedule = Schedule.from_diffusers(scheduler)
    return open_unet(files, device, dtype), schedule


@contextmanager
def _describing(files: DiffusersFiles, wanted: str) -> Iterator[None]:
    try:
        yield
    except UNBUILT as error:
        raise CheckpointError(f"{files.folder} does not describe {wanted}: {error}") from error


def open_unet(files: DiffusersFiles, device: torch.device, dtype: torch.dtype) -> UNet2DModel:
    """The files say what the network is, and its weights are checked against it."""
    config = read_json(files.config)
    shape_of(files)
    with _describing(files, "a UNet2DModel with a DDPM schedule"), torch.device("meta"):
        unet = UNet2DModel.from_config(config)
    assert isinstance(unet, UNet2DModel)
    weights = {renamed(name): tensor for name, tensor in _weights(files.weights, device).items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    wrong = differences(wanted, {name: tuple(tensor.shape) for name, tensor in weights.items()})
    if wrong:
        raise CheckpointError(f"{files.weights} is of another shape than config.json says: {wrong}")
    must_be_finite(weights, files.weights)
    unet.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, assign=True)
    return unet


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


def renamed(name: str) -> str:
    """Attention layers of diffusers before 0.15 under their names of today."""
    for old, new in _OLD_ATTENTION.items():
        name = name.replace(old, new)
    return name


def differences(wanted: Shapes, came: Shapes) -> str:
    """The first tensors that are missing, left over or of another shape; empty when there are none."""
    wrong = sorted(name for name in wanted.keys() | came.keys() if wanted.get(name) != came.get(name))
    rows = [f"{name}: file {came.get(name, 'lacks it')}, network {wanted.get(name, 'has none')}" for name in wrong]
    return f"{len(wrong)} tensors differ ({'; '.join(rows[:_SHOWN])})" if wrong else ""

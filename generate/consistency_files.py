"""The files of consistency models and of EDM's networks, and what they tell unopened; needs no torch.

Such a state_dict (arXiv 2303.01469) is guided-diffusion's network with defaults of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from generate.errors import CheckpointError, GenerateError
from generate.guided_flags import FlagError, Flags, GuidedFlags, given_flags, parse_flags
from generate.identity import (
    CONSISTENCY,
    STATE_DICTS,
    DiffusersFiles,
    StateDict,
    locate,
    located_state_dict,
    read_json,
)
from generate.stored import TOLERANT, StoredError, stored

Kind = Literal["consistency", "edm"]
_LSUN = (
    "--attention_resolutions 32,16,8 --class_cond False --dropout 0.0 --image_size 256 --num_channels 256 "
    "--num_head_channels 64 --num_res_blocks 2 --resblock_updown True --use_fp16 True --use_scale_shift_norm False"
)
PRESETS = {
    name.format(subject): _LSUN
    for subject in ("bedroom256", "cat256")
    for name in ("cd_{}_lpips", "cd_{}_l2", "ct_{}", "edm_{}_ema")
}
"""The flags of the published files for LSUN, by their names."""
_DEFAULTS = {"attention_resolutions": "32,16,8"}
_ALWAYS = {"use_new_attention_order": "True"}  # the published code knows no other, whatever its flags say
_NO_EFFECT = {"weight_schedule", "training_mode", "sampler", "generator", "model_path", "num_samples", "batch_size"}


@dataclass(frozen=True)
class NoiseLevels:
    """The noise that a network knows, between two standard deviations; `sigma_data` is that of the images."""

    __pydantic_config__ = TOLERANT

    sigma_min: Annotated[float, Field(gt=0)] = 0.002
    sigma_max: Annotated[float, Field(gt=0)] = 80.0
    sigma_data: Annotated[float, Field(gt=0)] = 0.5
    rho: Annotated[float, Field(gt=0)] = 7.0

    def __post_init__(self) -> None:
        if self.sigma_min >= self.sigma_max:
            raise ValueError("sigma_min must be below sigma_max")

    def grid(self, count: int) -> list[float]:
        """So many levels, from the most noise down (arXiv 2206.00364, eq. 5)."""
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return [(high + i / max(1, count - 1) * (low - high)) ** self.rho for i in range(count)]


def must_ascend(ts: Sequence[int], levels: int) -> None:
    """Raises GenerateError for noise levels that a consistency model cannot be asked at in this order."""
    if not ts or ts[0] != 0 or any(b <= a for a, b in pairwise(ts)) or ts[-1] >= levels:
        raise GenerateError(
            f"ts {list(ts)} are no noise levels to go through; they ascend from 0, the most noise, to at most "
            f"{levels - 1}, as [0, 17] of 40 does"
        )


def consistency_flags(flags: Flags) -> GuidedFlags:
    """Read the flags of a state_dict, in any of their three forms. Raises FlagError that lists every mistake."""
    given = {name: value for name, value in given_flags(flags, PRESETS).items() if name not in _NO_EFFECT}
    read = parse_flags({**_DEFAULTS, **given, **_ALWAYS})
    if read.learn_sigma:
        raise FlagError("flags: --learn_sigma True is a denoiser's; a consistency model has no learned variance")
    return read


def locate_consistency(source: str | Path, flags: Flags | None, kind: Kind) -> StateDict | DiffusersFiles:
    """The files of a state_dict with flags, of a diffusers folder, or of a Hub id, which is fetched if need be.

    Without flags, a state_dict that is called like a preset has that preset's. Raises CheckpointError, also for what
    says of itself that it is of another kind.
    """
    path = Path(source)
    if path.suffix not in STATE_DICTS:
        files = locate(source, flags)
        assert isinstance(files, DiffusersFiles)
        _must_be_consistency(files, kind)
        return files
    return located_state_dict(path, flags, PRESETS, consistency_flags)


def _must_be_consistency(files: DiffusersFiles, kind: Kind) -> None:
    came = read_json(files.scheduler).get("_class_name")
    if kind == "edm":
        raise CheckpointError(f"{files.folder} is a diffusers folder; EDM's networks are opened from an edm_*.pt")
    if came != CONSISTENCY:
        raise CheckpointError(
            f"{files.folder} has a {came}; a consistency model's {CONSISTENCY} is needed, or open it as a denoiser"
        )
    if read_json(files.config).get("num_class_embeds") is not None:
        raise CheckpointError(f"{files.folder} paints one of several classes; a model without classes is needed")


def levels_of(files: StateDict | DiffusersFiles) -> NoiseLevels:
    """The noise that the network was trained for; a state_dict does not say it, all published ones agree."""
    if isinstance(files, StateDict):
        return NoiseLevels()
    try:
        return stored(files.scheduler.read_bytes(), NoiseLevels)
    except (StoredError, OSError) as error:
        raise CheckpointError(f"{files.scheduler} does not describe noise levels: {error}") from error

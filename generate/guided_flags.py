"""The flags that guided-diffusion and improved-diffusion checkpoints come with (arXiv 2105.05233, 2102.09672)."""

import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

Flags = str | Mapping[str, Any]
"""The published command line, a mapping of its flags, or the name of a preset."""

GROUPS = 32  # of every group norm
_CHANNEL_MULT = {512: "0.5,1,1,2,2,4,4", 256: "1,1,2,2,4,4", 128: "1,1,2,3,4", 64: "1,2,3,4", 32: "1,2,2,2"}
_LSUN = (
    "--attention_resolutions 32,16,8 --class_cond False --diffusion_steps 1000 --dropout 0.1 --image_size 256 "
    "--learn_sigma True --noise_schedule linear --num_channels 256 --num_head_channels 64 --num_res_blocks 2 "
    "--resblock_updown True --use_fp16 True --use_scale_shift_norm True"
)
TRAINED: dict[str, str] = {
    "adm_64": _LSUN.replace("size 256", "size 64")
    .replace("linear", "cosine")
    .replace("channels 256", "channels 192")
    .replace("blocks 2", "blocks 3"),
    "adm_128": _LSUN.replace("size 256", "size 128"),
    "adm_256": _LSUN,
}
"""The publication's networks of 64, 128 and 256 pixels, without classes."""
PRESETS: dict[str, str] = dict.fromkeys(("lsun_bedroom", "lsun_cat", "lsun_horse", "ffhq"), _LSUN)


class FlagError(ValueError):
    """Flags that are unknown, malformed, or that cannot be honoured."""


def _joined(value: Any) -> Any:
    """A list is what a mapping may hold where the command line has "32,16,8"."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


Large = Annotated[int, Field(ge=1, le=16384)]
Numbers = Annotated[
    str, BeforeValidator(_joined), Field(pattern=r"^([0-9]{1,5}(\.[0-9]{1,5})?(,[0-9]{1,5}(\.[0-9]{1,5})?){0,15})?$")
]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class GuidedFlags:
    """A network and its schedule, with the publication's names and defaults.

    Flags that only matter for training (dropout, use_kl, ...) or for the precision of the computation (use_fp16) are
    accepted and have no effect. `class_label` is ours: the one class that a class-conditional network is to paint.
    """

    image_size: Large = 64
    num_channels: Large = 128
    num_res_blocks: Annotated[int, Field(ge=1, le=64)] = 2
    num_heads: Large = 4
    num_heads_upsample: int = -1  # -1: as num_heads
    num_head_channels: int = -1  # -1: num_heads counts
    attention_resolutions: Numbers = "16,8"
    channel_mult: Numbers = ""  # "": by image_size
    dropout: float = 0.0
    class_cond: bool = False
    class_label: Annotated[int, Field(ge=0)] | None = None
    use_checkpoint: bool = False
    use_scale_shift_norm: bool = True
    resblock_updown: bool = False
    use_fp16: bool = False
    use_new_attention_order: bool = False
    learn_sigma: bool = False
    sigma_small: bool = False
    diffusion_steps: Annotated[int, Field(ge=2, le=1_000_000)] = 1000
    noise_schedule: Literal["linear", "cosine"] = "linear"
    timestep_respacing: str = ""
    use_kl: bool = False
    predict_xstart: bool = False
    rescale_timesteps: bool = False
    rescale_learned_sigmas: bool = False

    @model_validator(mode="after")
    def _can_be_honoured(self) -> "GuidedFlags":
        if self.class_cond and self.class_label is None:
            raise ValueError("class_cond True needs a class to paint; add --class_label N")
        if self.class_label is not None and not self.class_cond:
            raise ValueError("class_label needs class_cond True; this network knows no classes")
        if self.timestep_respacing:
            raise ValueError("timestep_respacing cannot be honoured here; solver and steps are chosen when sampling")
        if not self.channel_mult and self.image_size not in _CHANNEL_MULT:
            raise ValueError(f"channel_mult has no default for image_size {self.image_size}; give it")
        levels = len(self.widths)
        if self.image_size % 2 ** (levels - 1):
            raise ValueError(f"image_size {self.image_size} cannot be halved {levels - 1} times, as channel_mult wants")
        for width in self.widths:
            if not width or width % GROUPS:
                raise ValueError(f"num_channels and channel_mult give {width} channels; {GROUPS} must divide them")
        for width, attends in zip(self.widths, [*self.attends[:-1], True], strict=True):  # the middle attends always
            for decoder in (False, True):
                if attends and width % self.heads(width, decoder=decoder):
                    raise ValueError(f"num_heads does not divide {width} channels")
        if self.noise_schedule == "linear" and self.diffusion_steps <= 20:
            raise ValueError(f"diffusion_steps {self.diffusion_steps}: a linear noise_schedule needs more than 20")
        return self

    @property
    def widths(self) -> list[int]:
        """Channels of each level, from the full resolution down."""
        multipliers = self.channel_mult or _CHANNEL_MULT[self.image_size]
        return [int(float(m) * self.num_channels) for m in multipliers.split(",")]

    @property
    def attends(self) -> list[bool]:
        """Whether a level has attention."""
        wanted = {int(float(r)) for r in self.attention_resolutions.split(",") if r}
        return [self.image_size // 2**level in wanted for level in range(len(self.widths))]

    def heads(self, width: int, *, decoder: bool) -> int:
        """Attention heads at `width` channels. Raises ValueError where the flags leave a part of a head."""
        if self.num_head_channels > 0:
            if width % self.num_head_channels:
                raise ValueError(f"num_head_channels {self.num_head_channels} does not divide {width} channels")
            return width // self.num_head_channels
        return self.num_heads_upsample if decoder and self.num_heads_upsample > 0 else self.num_heads


def parse_flags(flags: Flags) -> GuidedFlags:
    """Read flags in any of their three forms. Raises FlagError that lists every mistake."""
    try:
        return TypeAdapter(GuidedFlags).validate_python(given_flags(flags, PRESETS))
    except ValidationError as error:
        raise FlagError(f"flags: {'; '.join(_mistake(e) for e in error.errors())}") from error


def given_flags(flags: Flags, presets: Mapping[str, str]) -> dict[str, Any]:
    """Flags by their names, as they are given. Raises FlagError for what is no preset and no command line."""
    if not isinstance(flags, str):
        return dict(flags)
    if flags.strip().startswith("--"):
        return _from_command_line(flags)
    if flags not in presets:
        raise FlagError(f"flags {flags!r} are no preset; known are {', '.join(presets)}, or give a command line")
    return _from_command_line(presets[flags])


def _from_command_line(line: str) -> dict[str, Any]:
    """`--name value` and `--name=value`; values stay text, so that "False" is read as false."""
    try:
        given, words = {}, iter(shlex.split(line))
    except ValueError as error:  # a quote that is not closed
        raise FlagError(f"flags: {line!r} is no command line: {error}") from error
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise FlagError(f"flags: {word!r} stands where a --flag is expected")
        if not equals and (value := next(words, "")).startswith("--"):
            raise FlagError(f"flags: --{name} has no value")
        given[name] = value
    return given


def _mistake(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        return f"--{name} is unknown; known are {', '.join(f.name for f in fields(GuidedFlags))}"
    message = error["msg"].removeprefix("Value error, ").replace("Input", "it", 1)
    return f"--{name}: {message}, not {error['input']!r}" if name else message

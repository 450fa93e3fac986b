"""The shape of a denoiser's network, read from its configuration; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from generate.errors import CheckpointError
from generate.identity import DiffusersFiles, StateDict
from generate.stored import TOLERANT, StoredError, stored

Side = Annotated[int, Field(ge=1, le=2**14)]
Channels = Annotated[int, Field(ge=1, le=2**14)]


@dataclass(frozen=True)
class UNet:
    """What of config.json a network is built from, within what can be built at all."""

    __pydantic_config__ = TOLERANT

    sample_size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)]
    block_out_channels: Annotated[list[Channels], Field(min_length=1, max_length=16)]
    in_channels: Literal[3] = 3
    out_channels: Literal[3, 6] = 3
    layers_per_block: Annotated[int, Field(ge=1, le=64)] = 2
    norm_num_groups: Channels | None = 32
    attention_head_dim: Channels | None = 8

    def __post_init__(self) -> None:
        if self.norm_num_groups and any(channels % self.norm_num_groups for channels in self.block_out_channels):
            raise ValueError("norm_num_groups must divide each of block_out_channels")


@dataclass(frozen=True)
class Shape:
    """What a recipe must fit."""

    size: tuple[int, int]  # height, width of its images
    levels: int  # of resolution
    layers: int  # residual blocks of a level of the encoder; the decoder has one more

    @property
    def blocks(self) -> int:
        """Decoder blocks, counted as `interpreter.blocks` does."""
        return self.levels * (self.layers + 1)


def image_shape(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Channels, height and width of the images of an open network, by its configuration."""
    size = config["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return config["in_channels"], height, width


def shape_of(files: StateDict | DiffusersFiles) -> Shape:
    """Raises CheckpointError for a configuration that does not say it."""
    if isinstance(files, StateDict):
        flags = files.flags
        return Shape((flags.image_size, flags.image_size), len(flags.widths), flags.num_res_blocks)
    try:
        network = stored(files.config.read_bytes(), UNet)
    except (StoredError, OSError) as error:
        raise CheckpointError(f"{files.config} does not describe a network of images: {error}") from error
    size = network.sample_size
    height, width = size if isinstance(size, list) else (size, size)
    return Shape((height, width), len(network.block_out_channels), network.layers_per_block)

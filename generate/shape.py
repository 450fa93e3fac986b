"""The shape of a denoiser's network, read from its configuration; needs no torch."""

from dataclasses import dataclass

from generate.errors import CheckpointError
from generate.identity import DiffusersFiles, StateDict, read_json


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


def shape_of(files: StateDict | DiffusersFiles) -> Shape:
    """Raises CheckpointError for a configuration that does not say it."""
    if isinstance(files, StateDict):
        flags = files.flags
        return Shape((flags.image_size, flags.image_size), len(flags.widths), flags.num_res_blocks)
    config = read_json(files.config)
    try:
        size = config["sample_size"]
        height, width = size if isinstance(size, list) else (size, size)
        return Shape((int(height), int(width)), len(config["block_out_channels"]), int(config["layers_per_block"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{files.config} does not describe a network of images: {error}") from error

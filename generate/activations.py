"""The decoder of a diffusers UNet, block by block, and the maps that it makes on its way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from generate.errors import GenerateError

Where = Literal["output", "input"]


class _LastBlockReached(Exception):
    """Ends a forward pass at the last activation that is wanted."""


@dataclass(frozen=True)
class DecoderBlock:
    """One residual block of the decoder with what follows it up to the next: attention, and the level's upsampler."""

    first: nn.Module  # its input is the block's: the map from below joined with the skip connection
    last: nn.Module  # its output is the block's


def decoder_blocks(unet: Any) -> list[DecoderBlock]:
    """The decoder's residual blocks, from the lowest resolution up, as arXiv 2112.03126 counts them."""
    blocks: list[DecoderBlock] = []
    for level in unet.up_blocks:
        resnets, attentions, upsamplers = (
            list(getattr(level, part, None) or ()) for part in ("resnets", "attentions", "upsamplers")
        )
        blocks += [DecoderBlock(first, last) for first, last in zip(resnets, attentions or resnets, strict=True)]
        if upsamplers:
            blocks[-1] = DecoderBlock(resnets[-1], upsamplers[-1])
    return blocks


def must_be_blocks(blocks: Sequence[int], there: int) -> None:
    """Raise GenerateError when a block is not one of the decoder's."""
    unknown = [b for b in blocks if b not in range(there)]
    if unknown or not blocks:
        raise GenerateError(
            f"blocks {list(blocks)} were asked for, but this UNet's decoder has blocks 0 to {there - 1}"
            + (f": {unknown} are not among them" if unknown else " and at least one is needed")
        )


def activations(
    decoder: Sequence[DecoderBlock], blocks: Sequence[int], where: Where, forward: Callable[[], object]
) -> list[Float[Tensor, "b _ _ _"]]:
    """The maps of decoder blocks during `forward`, in the order of `blocks`; nothing behind the last is computed."""
    maps: dict[int, Tensor] = {}

    def keep(block: int, _module: nn.Module, inputs: tuple[Any, ...], output: Any = None) -> None:
        # attention with words gives a tuple of one
        maps[block] = inputs[0] if output is None else output[0] if isinstance(output, tuple) else output
        if len(maps) == len(set(blocks)):
            raise _LastBlockReached

    handles = []
    for number in set(blocks):
        block, hook = decoder[number], partial(keep, number)
        if where == "output":
            handles.append(block.last.register_forward_hook(hook))
        else:
            handles.append(block.first.register_forward_pre_hook(hook))
    try:
        forward()
    except _LastBlockReached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return [maps[b] for b in blocks]

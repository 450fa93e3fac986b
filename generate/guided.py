"""guided-diffusion and improved-diffusion state_dicts as diffusers' UNet2DModel, which holds that UNet exactly."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor

from generate.guided_flags import GROUPS, GuidedFlags

_PLAIN = {"": ("",)}
_RESNET = {
    "in_layers.0.": ("norm1.",),
    "in_layers.2.": ("conv1.",),
    "emb_layers.1.": ("time_emb_proj.",),
    "out_layers.0.": ("norm2.",),
    "out_layers.3.": ("conv2.",),
    "skip_connection.": ("conv_shortcut.",),
}
_ATTENTION = {"norm.": ("group_norm.",), "qkv.": ("to_q.", "to_k.", "to_v."), "proj_out.": ("to_out.0.",)}

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Rule:
    """A tensor of the state_dict, its shape there, and the tensors of the UNet2DModel that it becomes."""

    targets: tuple[str, ...]
    shape: tuple[int, ...]
    heads: int = 1  # of the attention that a qkv tensor belongs to


def build_unet(flags: GuidedFlags, device: torch.device | None = None) -> UNet2DModel:
    """The network that the flags describe; without weights, on the meta device, unless another one is given."""
    down = {True: "AttnDownBlock2D", False: "ResnetDownsampleBlock2D" if flags.resblock_updown else "DownBlock2D"}
    up = {True: "AttnUpBlock2D", False: "ResnetUpsampleBlock2D" if flags.resblock_updown else "UpBlock2D"}
    resampling = "resnet" if flags.resblock_updown else "conv"
    attending = [width for width, attends in zip(flags.widths, flags.attends, strict=True) if attends]
    attending.append(flags.widths[-1])  # the middle
    with device or torch.device("meta"):
        unet = UNet2DModel(
            sample_size=flags.image_size,
            out_channels=6 if flags.learn_sigma else 3,
            time_embedding_dim=4 * flags.num_channels,
            down_block_types=tuple(down[attends] for attends in flags.attends),
            up_block_types=tuple(up[attends] for attends in reversed(flags.attends)),
            block_out_channels=tuple(flags.widths),
            layers_per_block=flags.num_res_blocks,
            downsample_type=resampling,
            upsample_type=resampling,
            attention_head_dim=math.gcd(*(width // flags.heads(width, decoder=False) for width in attending)),
            norm_num_groups=GROUPS,
            attn_norm_num_groups=GROUPS,
            resnet_time_scale_shift="scale_shift" if flags.use_scale_shift_norm else "default",
        )
        if flags.widths[0] != flags.num_channels:  # UNet2DModel takes the first level's width for the embedding
            unet.time_proj = Timesteps(flags.num_channels, flip_sin_to_cos=True, downscale_freq_shift=0)
            unet.time_embedding = TimestepEmbedding(flags.num_channels, 4 * flags.num_channels)
    for name, module in unet.named_modules():
        if isinstance(module, Attention):  # UNet2DModel takes one width of a head for all levels: a divisor of each
            width = module.to_q.in_features
            module.heads = flags.heads(width, decoder=name.startswith("up_blocks"))
            module.scale = (width / module.heads) ** -0.5
    return unet


def layout(flags: GuidedFlags, unet: UNet2DModel, *, attention_sides: int = 1) -> dict[str, Rule]:
    """Where each tensor of the state_dict belongs; every tensor of the network is a target once.

    Attention multiplies by convolutions of width 1, over a row of pixels there, or over the image's two sides.
    """
    shapes: Shapes = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    rules = {}
    for source, target, names in _pieces(flags):
        for (old, new), kind in itertools.product(names.items(), ("weight", "bias")):
            targets = tuple(f"{target}.{n}{kind}" for n in new)
            if targets[0] not in shapes:
                continue  # a residual block that keeps its width has no skip connection
            first = shapes[targets[0]]
            shape = (len(new) * first[0], *first[1:])
            if names is _ATTENTION and kind == "weight" and len(first) == 2:
                shape = (*shape, *[1] * attention_sides)
            heads = flags.heads(first[0], decoder=source.startswith("output")) if len(new) == 3 else 1
            rules[f"{source}.{old}{kind}"] = Rule(targets, shape, heads)
    assert {target for rule in rules.values() for target in rule.targets} == set(shapes)
    return rules


def _pieces(flags: GuidedFlags) -> Iterator[tuple[str, str, dict[str, tuple[str, ...]]]]:
    """Modules of the state_dict, the same in UNet2DModel, and how their parts are called in the two."""
    resampler = ("", "", _RESNET) if flags.resblock_updown else (".op", ".conv", _PLAIN)
    last, layers = len(flags.widths) - 1, flags.num_res_blocks
    yield "time_embed.0", "time_embedding.linear_1", _PLAIN
    yield "time_embed.2", "time_embedding.linear_2", _PLAIN
    yield "input_blocks.0.0", "conv_in", _PLAIN
    number = 1
    for level, attends in enumerate(flags.attends):
        for layer in range(layers):
            yield f"input_blocks.{number}.0", f"down_blocks.{level}.resnets.{layer}", _RESNET
            if attends:
                yield f"input_blocks.{number}.1", f"down_blocks.{level}.attentions.{layer}", _ATTENTION
            number += 1
        if level < last:
            old, new, names = resampler
            yield f"input_blocks.{number}.0{old}", f"down_blocks.{level}.downsamplers.0{new}", names
            number += 1
    yield "middle_block.0", "mid_block.resnets.0", _RESNET
    yield "middle_block.1", "mid_block.attentions.0", _ATTENTION
    yield "middle_block.2", "mid_block.resnets.1", _RESNET
    for level, attends in enumerate(reversed(flags.attends)):
        for layer in range(layers + 1):
            number = level * (layers + 1) + layer
            yield f"output_blocks.{number}.0", f"up_blocks.{level}.resnets.{layer}", _RESNET
            if attends:
                yield f"output_blocks.{number}.1", f"up_blocks.{level}.attentions.{layer}", _ATTENTION
            if layer == layers and level < last:
                new, names = resampler[1:]
                yield f"output_blocks.{number}.{1 + attends}{new}", f"up_blocks.{level}.upsamplers.0{new}", names
    yield "out.0", "conv_norm_out", _PLAIN
    yield "out.2", "conv_out", _PLAIN


def split(tensor: Tensor, rule: Rule, flags: GuidedFlags) -> list[Tensor]:
    """The parts of a tensor, in the order of the rule's targets.

    Rows of a qkv tensor are ordered by head, then by query, key and value; in the new attention order the other way.
    """
    if len(rule.targets) == 1:
        return [tensor]
    if flags.use_new_attention_order:
        return list(tensor.chunk(3))
    by_head = tensor.unflatten(0, (rule.heads, 3, -1))
    return [by_head[:, i].flatten(0, 1) for i in range(3)]


def shown_flags(flags: GuidedFlags) -> dict[str, Any]:
    """The flags that a state_dict's shapes show, as structure_of gives them."""
    names = ("class_cond", "num_channels", "learn_sigma", "use_scale_shift_norm", "resblock_updown", "num_res_blocks")
    attention = [str(flags.image_size // 2**level) for level, attends in enumerate(flags.attends) if attends]
    return {name: getattr(flags, name) for name in names} | {
        "channel_mult": ",".join(f"{width / flags.num_channels:g}" for width in flags.widths),
        "attention_resolutions": ",".join(attention),
    }


def structure_of(shapes: Shapes, image_size: int) -> dict[str, Any]:
    """What a state_dict's shapes say of its flags, as far as it is one of this kind."""
    widths, attention = [], []
    flags: dict[str, Any] = {"class_cond": "label_emb.weight" in shapes}
    if embedding := shapes.get("time_embed.0.weight"):
        flags["num_channels"] = embedding[1]
    if out := shapes.get("out.2.bias"):
        flags["learn_sigma"] = out[0] == 6
    embedded, width = (shapes.get(f"input_blocks.1.0.{part}.bias") for part in ("emb_layers.1", "out_layers.3"))
    if embedded and width:
        flags["use_scale_shift_norm"] = embedded[0] == 2 * width[0]
    flags["resblock_updown"] = not any(".op." in name for name in shapes)
    upsampler = re.compile(r"output_blocks\.(\d+)\.(?:[12]\.in_layers\.0|[12]\.conv)\.weight")
    layers = min((int(m[1]) for m in map(upsampler.fullmatch, shapes) if m), default=0)
    if layers and "num_channels" in flags:
        flags["num_res_blocks"] = layers
        for level in itertools.count():
            block = f"input_blocks.{1 + level * (layers + 1)}"
            if f"{block}.0.out_layers.3.bias" not in shapes:
                break
            widths.append(f"{shapes[f'{block}.0.out_layers.3.bias'][0] / flags['num_channels']:g}")
            if f"{block}.1.qkv.weight" in shapes:
                attention.append(str(image_size // 2**level))
        flags |= {"channel_mult": ",".join(widths), "attention_resolutions": ",".join(attention)}
    return flags

"""State_dicts as the publication's code writes them, from its constructor's rules alone: names and shapes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

Shapes = dict[str, tuple[int, ...]]

LSUN = {
    "image_size": 256,
    "num_channels": 256,
    "channel_mult": "1,1,2,2,4,4",
    "num_res_blocks": 2,
    "attention_resolutions": "32,16,8",
    "num_head_channels": 64,
    "resblock_updown": True,
    "use_scale_shift_norm": True,
    "learn_sigma": True,
}
SMALL = {
    **LSUN,
    "image_size": 16,
    "num_channels": 32,
    "channel_mult": "1,2",
    "num_res_blocks": 1,
    "attention_resolutions": "8",
    "num_head_channels": 16,
}
"""The same kind of network, small enough to be opened in a moment."""


def published_shapes(flags: Mapping[str, Any]) -> Shapes:
    """Name -> shape of every tensor of the UNet that these flags make."""
    shapes: Shapes = {}
    base, updown = flags["num_channels"], flags["resblock_updown"]
    emb, norm_width = 4 * base, 2 if flags["use_scale_shift_norm"] else 1
    mults = [int(m) for m in flags["channel_mult"].split(",")]
    attended = {flags["image_size"] // int(r) for r in flags["attention_resolutions"].split(",")}

    def layer(name: str, *weight: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, weight[:1]

    def residual(name: str, inputs: int, outputs: int) -> None:
        layer(f"{name}.in_layers.0", inputs)
        layer(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        layer(f"{name}.emb_layers.1", norm_width * outputs, emb)
        layer(f"{name}.out_layers.0", outputs)
        layer(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            layer(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def attention(name: str, width: int) -> None:
        layer(f"{name}.norm", width)
        layer(f"{name}.qkv", 3 * width, width, 1)
        layer(f"{name}.proj_out", width, width, 1)

    def resample(name: str, layer_name: str, width: int) -> None:
        if updown:
            residual(name, width, width)
        else:
            layer(f"{name}.{layer_name}", width, width, 3, 3)

    layer("time_embed.0", emb, base)
    layer("time_embed.2", emb, emb)
    if flags.get("class_cond"):
        shapes["label_emb.weight"] = (1000, emb)
    width, halvings, number = mults[0] * base, 1, 1
    layer("input_blocks.0.0", width, 3, 3, 3)
    skips = [width]
    for level, mult in enumerate(mults):
        for _ in range(flags["num_res_blocks"]):
            residual(f"input_blocks.{number}.0", width, mult * base)
            width = mult * base
            if halvings in attended:
                attention(f"input_blocks.{number}.1", width)
            skips.append(width)
            number += 1
        if level < len(mults) - 1:
            resample(f"input_blocks.{number}.0", "op", width)
            skips.append(width)
            number, halvings = number + 1, halvings * 2
    residual("middle_block.0", width, width)
    attention("middle_block.1", width)
    residual("middle_block.2", width, width)
    number = 0
    for level, mult in reversed(list(enumerate(mults))):
        for i in range(flags["num_res_blocks"] + 1):
            residual(f"output_blocks.{number}.0", width + skips.pop(), mult * base)
            width, place = mult * base, 1
            if halvings in attended:
                attention(f"output_blocks.{number}.1", width)
                place = 2
            if level and i == flags["num_res_blocks"]:
                resample(f"output_blocks.{number}.{place}", "conv", width)
                halvings //= 2
            number += 1
    layer("out.0", width)
    layer("out.2", 6 if flags["learn_sigma"] else 3, mults[0] * base, 3, 3)
    return shapes


def write_state_dict(path: Path, flags: Mapping[str, Any], *, scale: float = 0.02) -> dict[str, torch.Tensor]:
    """Write random weights as a .pt; returns them."""
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) * scale for name, shape in published_shapes(flags).items()}
    torch.save(weights, path)
    return weights


def write_small_mae(path: Path) -> None:
    """A MAE as published, of random weights: 16x16 pixels, patches of 4, three blocks of 32, two heads."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        norm = partial(nn.LayerNorm, eps=1e-6)
        network = VisionTransformer(16, 4, embed_dim=32, depth=3, num_heads=2, num_classes=0, norm_layer=norm)
    torch.save({"model": {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}}, path)

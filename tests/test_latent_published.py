"""The tensors of published models, by name and shape, on no device: their configurations are public, no weight is here.

The numbers of tensors and of parameters, where they stand here, are those of the published files.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel, VQModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from generate import CheckpointError
from generate.latent_parts import filled
from generate.words import without_prefix

CROSS = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
CROSS_UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
UNET_1: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": CROSS,
    "up_block_types": CROSS_UP,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
UNET_2: dict[str, Any] = {
    **UNET_1,
    "sample_size": 96,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
LDM_UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D",) + ("AttnDownBlock2D",) * 3,
    "up_block_types": ("AttnUpBlock2D",) * 3 + ("UpBlock2D",),
    "attention_head_dim": 32,
}
LDM_VQVAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 2,
    "latent_channels": 3,
    "num_vq_embeddings": 8192,
    "sample_size": 256,
}
CLIP_L: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
CLIP_H: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23}


def text(config: dict[str, Any], heads: int) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(**config, num_attention_heads=heads, projection_dim=512))


def build(name: str) -> nn.Module:
    with torch.device("meta"):
        return {
            "sd-1.5 unet": lambda: UNet2DConditionModel(**UNET_1),
            "sd-2.1 unet": lambda: UNet2DConditionModel(**UNET_2),
            "sd vae": lambda: AutoencoderKL(**VAE),
            "sd-1.5 text": lambda: text(CLIP_L, 12),
            "sd-2.1 text": lambda: text(CLIP_H, 16),
            "ldm unet": lambda: UNet2DModel(**LDM_UNET),
            "ldm vqvae": lambda: VQModel(**LDM_VQVAE),
        }[name]()


def published(name: str, network: nn.Module) -> dict[str, Tensor]:
    """Tensors under the names that the published file has: attention's of diffusers before 0.15, CLIP's prefix."""
    tensors = dict(network.state_dict())
    if name.endswith("text"):
        tensors = {f"text_model.{key.removeprefix('text_model.')}": tensor for key, tensor in tensors.items()}
        tensors["text_model.embeddings.position_ids"] = torch.empty(1, 77, dtype=torch.long, device="meta")
    elif name in ("sd vae", "ldm unet", "ldm vqvae"):
        old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
        for new, former in old.items():
            tensors = {key.replace(new, former): tensor for key, tensor in tensors.items()}
    return tensors


@pytest.mark.parametrize(
    ("name", "count", "parameters"),
    [
        ("sd-1.5 unet", 686, 859_520_964),
        ("sd-2.1 unet", 686, 865_910_724),
        ("sd vae", 248, 83_653_863),
        ("sd-1.5 text", 196, 123_060_480),
        ("sd-2.1 text", 372, 340_387_840),
        ("ldm unet", None, 274_056_163),
        ("ldm vqvae", None, None),
    ],
)
def test_the_published_tensors_are_all_taken(
    name: str, count: int | None, parameters: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build(name)
    shapes = [tensor.shape for tensor in network.state_dict().values()]
    assert parameters in (None, sum(shape.numel() for shape in shapes))
    assert count in (None, len(shapes))
    monkeypatch.setattr("generate.latent_parts.must_be_finite", lambda *_: None)  # no values are there to look at
    rename = (without_prefix,) if name.endswith("text") else ()
    tensors = published(name, network)
    filled(network, tensors, Path("weights"), torch.float16, *rename)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float16}
    with pytest.raises(CheckpointError, match="1 tensors differ"):
        filled(network, dict(list(tensors.items())[1:]), Path("weights"), torch.float16, *rename)

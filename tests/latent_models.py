"""Latent diffusion models of tiny random networks, as diffusers' own pipelines write them."""

from pathlib import Path
from typing import Any

import torch
from conftest import make_unet
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    LDMPipeline,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    VQModel,
)
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
    RobertaSeriesConfig,
    RobertaSeriesModelWithTransformation,
)
from diffusers.pipelines.deprecated.alt_diffusion.pipeline_alt_diffusion import AltDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, XLMRobertaTokenizer

WORDS = ("a", "photo", "of", "red", "green", "horse", "cow", "on")
SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
WIDTH = 12  # of what the UNet is told
LENGTH = 8  # tokens that are read
CODER: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
    "sample_size": 16,
}
UNCHECKED: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def letters() -> list[str]:
    return [letter for each in "abcdefghijklmnopqrstuvwxyz" for letter in (each, f"{each}</w>")]


def clip_tokenizer() -> CLIPTokenizer:
    """It knows eight words and all letters; a word is merged from its letters, one more at a time."""
    merges: list[str] = []
    names = list(dict.fromkeys(["<|startoftext|>", "<|endoftext|>", *(f"{word}</w>" for word in WORDS), *letters()]))
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges += [] if (pair := " ".join(parts[:2])) in merges else [pair]
            parts = ["".join(parts[:2]), *parts[2:]]
            names += [] if parts[0] in names else [parts[0]]
    vocabulary = {name: number for number, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair.split()) for pair in merges], model_max_length=LENGTH)  # type: ignore[arg-type]


def clip_encoder(tokens: int) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=tokens,
            hidden_size=WIDTH,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def autoencoder() -> AutoencoderKL:
    """Images of 16x16 to latents of 8x8 with four channels."""
    return AutoencoderKL(latent_channels=4, **CODER)


def unet_with_words(in_channels: int = 4, **more: Any) -> UNet2DConditionModel:
    """Four decoder blocks: two at 4x4, of which the last is followed by an upsampler, two at 8x8."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
        **more,
    )


def stable_diffusion(**schedule: Any) -> StableDiffusionPipeline:
    torch.manual_seed(0)
    scheduler: Any = PNDMScheduler(**SCHEDULE, skip_prk_steps=True, steps_offset=1, **schedule)
    tokenizer = clip_tokenizer()
    return StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=clip_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        unet=unet_with_words(),
        scheduler=scheduler,
        **UNCHECKED,
    )


def alt_diffusion() -> AltDiffusionPipeline:
    torch.manual_seed(0)
    words = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{w}", -1.0) for w in ("rotes", "馬"))]
    tokenizer = XLMRobertaTokenizer(vocab=[*words, ("▁", -2.0), ("<mask>", 0.0)], model_max_length=LENGTH)
    config = RobertaSeriesConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH + 4,
        project_dim=WIDTH,
    )
    scheduler: Any = DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    return AltDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=RobertaSeriesModelWithTransformation(config).eval(),
        tokenizer=tokenizer,
        unet=unet_with_words(),
        scheduler=scheduler,
        **UNCHECKED,
    )


def plain() -> LDMPipeline:
    """Without words: images of 16x16, latents of 8x8 with three channels, rounded to 32 codes."""
    torch.manual_seed(0)
    coder = VQModel(latent_channels=3, num_vq_embeddings=32, **CODER)
    return LDMPipeline(coder, make_unet(size=8), DDIMScheduler(beta_start=0.0015, beta_end=0.0195, clip_sample=False))


def saved(pipeline: DiffusionPipeline, folder: Path) -> Path:
    pipeline.save_pretrained(folder)
    return folder

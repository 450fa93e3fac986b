"""The folder of a latent diffusion model: what is opened, and what is refused in one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import latent_models
import pytest
import torch
from safetensors.torch import load_file, save_file

from generate import CheckpointError, LatentModel
from generate.latent_files import LatentFiles, locate_latent
from generate.shape import Shape


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return latent_models.saved(latent_models.stable_diffusion(), tmp_path_factory.mktemp("sd"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_folder_says_size_blocks_steps_and_digest_unopened(folder: Path) -> None:
    files, opened = locate_latent(folder), LatentModel.from_pretrained(folder)
    assert files.shape() == Shape((16, 16), levels=2, layers=1)
    assert files.shape().blocks == len(opened.blocks) == 4
    assert files.timesteps() == 1000
    assert files.digest() == opened.digest
    before = files.digest()
    change(folder / "tokenizer" / "tokenizer_config.json", model_max_length=7)
    assert LatentFiles.of(folder).digest() != before


def as_published(folder: Path) -> None:
    """Names of tensors as old versions wrote them, a tokenizer as two files, and a safety checker beside."""
    tokenizer = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["merges"]]
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(tokenizer["vocab"]))
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    words = load_file(folder / "text_encoder" / "model.safetensors")
    words = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in words.items()}
    numbers = torch.arange(latent_models.LENGTH)[None]
    torch.save({**words, "text_model.embeddings.position_ids": numbers}, folder / "text_encoder" / "pytorch_model.bin")
    (folder / "text_encoder" / "model.safetensors").unlink()
    coder = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    for new, former in old.items():
        coder = {name.replace(new, former): tensor for name, tensor in coder.items()}
    save_file(coder, folder / "vae" / "diffusion_pytorch_model.safetensors")
    (folder / "safety_checker").mkdir()
    change(folder / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])


def test_old_names_of_tensors_and_a_tokenizer_of_two_files_open_to_the_same_model(whole: Path, folder: Path) -> None:
    as_published(folder)
    new, old = LatentModel.from_pretrained(whole), LatentModel.from_pretrained(folder)
    told, again = (model.embedded(["a photo of a red horse"]) for model in (new, old))
    assert told is not None
    assert again is not None
    assert torch.equal(told, again)
    latents = torch.randn(1, 4, 8, 8)
    assert torch.equal(new.decode(latents), old.decode(latents))


def emptied(part: str) -> Callable[[Path], None]:
    def empty(folder: Path) -> None:
        shutil.rmtree(folder / part)
        (folder / part).mkdir()

    return empty


def without_a_tensor(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.weight"]
    save_file(tensors, path)


def cut_short(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def changed(name: str, **fields: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder / name, **fields)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (emptied("unet"), "model is not whole: unet/ holds no config.json; fetch all of the model again"),
        (emptied("tokenizer"), "is not whole: tokenizer/ holds no tokenizer_config.json"),
        (emptied("scheduler"), "is not whole: scheduler/ holds no scheduler_config.json"),
        (
            lambda folder: (folder / "text_encoder" / "model.safetensors").unlink(),
            "text_encoder/ holds no model.safetensors and no pytorch_model.bin",
        ),
        (without_a_tensor, r"1 tensors differ \(conv_in.weight: file lacks it"),
        (cut_short, "cut short or no safetensors file"),
        (
            changed("unet/config.json", in_channels=9),
            "is an inpainting model: its UNet takes 9 channels, its latents have 4; take a model that paints from",
        ),
        (changed("unet/config.json", in_channels=8), "is of another kind: its UNet takes 8 channels"),
        (changed("unet/config.json", addition_embed_type="text_time"), r"as SDXL's does; take Stable Diffusion 1 or 2"),
        (
            changed("model_index.json", _class_name="StableDiffusionXLPipeline"),
            "is a StableDiffusionXLPipeline, whose two text encoders are not read here; known are LDMPipeline",
        ),
        (
            changed("model_index.json", _class_name="StableDiffusionInpaintPipeline"),
            "StableDiffusionInpaintPipeline, which paints into an image that is given",
        ),
        (
            changed("scheduler/scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler"),
            "scheduler FlowMatchEulerDiscreteScheduler is not known, .*; known are DDIM, DDPM, PNDM",
        ),
        (changed("text_encoder/config.json", architectures=["T5EncoderModel"]), "text encoder T5EncoderModel is not"),
        (changed("scheduler/scheduler_config.json", beta_schedule="wavy"), "is no noise schedule that is known"),
        (changed("unet/config.json", down_block_types=["Down"]), "does not describe a UNet2DConditionModel"),
        (changed("unet/config.json", sample_size=0), "sample_size: it should be greater than or equal to 1"),
    ],
)
def test_a_model_that_cannot_paint_here_is_refused_in_one_sentence(
    harm: Callable[[Path], None], sentence: str, folder: Path
) -> None:
    harm(folder)
    with pytest.raises(CheckpointError, match=sentence) as refused:
        LatentModel.from_pretrained(folder)
    assert "\n" not in str(refused.value)


def test_a_folder_without_an_index_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no model_index\.json"):
        locate_latent(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no model_index\.json"):
        locate_latent(tmp_path / "nowhere")

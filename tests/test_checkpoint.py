import json

import huggingface_hub.constants
import pytest
import torch
from diffusers import UNet2DModel
from published import write_state_dict
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from generate import CheckpointError, Denoiser
from pipelines import cli

OLD_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
HUB_ID = "google/ddpm-cat-256"


@pytest.fixture
def offline_hub(tmp_path, monkeypatch):
    """A local Hub cache without a network; returns its folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cache(hub, denoiser, *, old: bool):
    """Put a denoiser into the cache as the Hub's DDPM repositories are laid out: no folders, old attention names."""
    repository = hub / "models--google--ddpm-cat-256"
    snapshot = repository / "snapshots" / "0123abc"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    denoiser.save_pretrained(snapshot)
    weights = load_file(snapshot / "unet" / "diffusion_pytorch_model.safetensors")
    for new_name, old_name in OLD_NAMES.items():
        weights = {name.replace(new_name, old_name): tensor for name, tensor in weights.items()}
    if old:
        torch.save(weights, snapshot / "diffusion_pytorch_model.bin")
    else:
        save_file(weights, snapshot / "diffusion_pytorch_model.safetensors")
    for name in ("unet/config.json", "scheduler/scheduler_config.json"):
        (snapshot / name).rename(snapshot / name.split("/")[1])
    for name in ("unet", "scheduler"):
        for file in (snapshot / name).iterdir():
            file.unlink()
        (snapshot / name).rmdir()


@pytest.mark.parametrize("old", [True, False], ids=["bin", "safetensors"])
def test_a_hub_repository_opens_from_the_local_cache_under_its_old_names(tiny_denoiser, offline_hub, old):
    cache(offline_hub, tiny_denoiser, old=old)
    opened = Denoiser.from_pretrained(HUB_ID)
    x_t, t = torch.randn(1, 3, 16, 16), torch.tensor([77])
    torch.testing.assert_close(opened(x_t, t), tiny_denoiser(x_t, t))


def test_a_hub_repository_that_is_neither_cached_nor_reachable_is_refused(offline_hub):
    with pytest.raises(CheckpointError, match=r"google/ddpm-cat-256 is no folder here.+neither cached nor reachable"):
        Denoiser.from_pretrained(HUB_ID)


def test_convert_writes_a_folder_that_diffusers_opens(tmp_path):
    line = "--image_size 16 --num_channels 32 --channel_mult 1,2 --num_res_blocks 1 --attention_resolutions 8"
    flags = {
        "image_size": 16,
        "num_channels": 32,
        "channel_mult": "1,2",
        "num_res_blocks": 1,
        "attention_resolutions": "8",
        "resblock_updown": False,
        "use_scale_shift_norm": True,
        "learn_sigma": False,
    }
    write_state_dict(tmp_path / "small.pt", flags)
    run = [str(tmp_path / "small.pt"), "--to", str(tmp_path / "folder"), "--flags", line]
    assert CliRunner().invoke(cli.app, ["convert", *run]).exit_code == 0
    unet = UNet2DModel.from_pretrained(tmp_path / "folder", subfolder="unet")
    assert sum(p.numel() for p in unet.parameters()) == sum(
        tensor.numel() for tensor in torch.load(tmp_path / "small.pt").values()
    )
    assert json.loads((tmp_path / "folder" / "model_index.json").read_text())["_class_name"] == "DDPMPipeline"
    with pytest.raises(CheckpointError, match="already and not empty"):
        CliRunner().invoke(cli.app, ["convert", *run], catch_exceptions=False)

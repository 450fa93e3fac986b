"""The shape that a configuration tells is that of the network which is opened."""

from pathlib import Path

import pytest
import torch
from published import LSUN, write_state_dict

from generate import CheckpointError, Denoiser
from generate.identity import locate
from generate.shape import Shape, shape_of

SMALL = {**LSUN, "image_size": 32, "num_channels": 32, "channel_mult": "1,2", "num_res_blocks": 1}


def blocks_of(denoiser: Denoiser) -> int:
    """Decoder blocks that can be read, found by asking for one too many."""
    count = 0
    while True:
        try:
            denoiser.activations(torch.zeros(1, 3, 32, 32), torch.tensor([5]), [count])
        except ValueError:
            return count
        count += 1


def test_a_state_dict_and_a_diffusers_folder_tell_size_and_blocks(tmp_path: Path) -> None:
    flags = {**SMALL, "num_head_channels": 16, "attention_resolutions": "8"}
    write_state_dict(tmp_path / "small.pt", flags)
    denoiser = Denoiser.from_pretrained(tmp_path / "small.pt", flags=flags)
    denoiser.save_pretrained(tmp_path / "folder")
    for files in (locate(tmp_path / "small.pt", flags), locate(tmp_path / "folder", None)):
        shape = shape_of(files)
        assert shape == Shape((32, 32), levels=2, layers=1)
        assert shape.blocks == blocks_of(denoiser)


def test_a_configuration_that_describes_no_network_is_named(tmp_path: Path) -> None:
    for name in ("config.json", "scheduler_config.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "diffusion_pytorch_model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"config\.json does not describe a network of images"):
        shape_of(locate(tmp_path, None))

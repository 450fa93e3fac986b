"""A denoiser's files that are none, or are not what their configuration says, are refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from generate import CheckpointError, Denoiser
from generate.identity import locate
from generate.shape import shape_of

TEXTS = {
    "a pointer of git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "a page": b"<html><body>404: Not Found</body></html>",
    "JSON": b'{"error": "Not found"}',
    "words": b"Invalid username or password.",
    "nothing": b"",
    "zeros": bytes(1000),
    "a zip": b"PK\x03\x04" + bytes(60),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_called_pt_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / "lsun_cat.pt").write_bytes(TEXTS[name])
    with pytest.raises(CheckpointError):
        Denoiser.from_pretrained(tmp_path / "lsun_cat.pt")


@pytest.mark.parametrize(
    "state",
    [
        *({1: torch.zeros(2)}, {"a": [1]}, [1, 2], {}, {"input_blocks.0.0.weight": torch.zeros(())}, 5, None),
        {"time_embed.0.weight": torch.zeros(4, 0), "output_blocks.2.1.conv.weight": torch.zeros(2)},
        {"time_embed.0.weight": torch.tensor(3.0), "out.2.bias": torch.tensor(1.0)},
        {"label_emb.weight": torch.zeros(())},
    ],
)
def test_a_pt_that_maps_no_names_to_tensors_is_named(tmp_path: Path, state: Any) -> None:
    torch.save(state, tmp_path / "lsun_cat.pt")
    with pytest.raises(CheckpointError):
        Denoiser.from_pretrained(tmp_path / "lsun_cat.pt")


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def changed(**fields: Any) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


CONFIGS = [
    *(written(content) for content in (b"", b"[]", b"null", b"\xff", b"[" * 5000, b"{", b'"x"', b"{}")),
    *(changed(sample_size=value) for value in (None, 0, -1, "x", [16], [16, 0], 10**9, [16, 16, 16], 1e400)),
    *(changed(block_out_channels=value) for value in (None, [], [0, 8], [-8, 16], "x", [8.5, 16], [10**12, 16], [[8]])),
    *(changed(layers_per_block=value) for value in (None, 0, -1, 10**6, "2", [1, 2])),
    *(changed(norm_num_groups=value) for value in (0, -4, 3, "4")),
    *(changed(attention_head_dim=value) for value in (0, -1, "8")),
    *(changed(in_channels=value) for value in (0, 1, 4, None)),
    *(changed(out_channels=value) for value in (0, 4, None)),
    changed(down_block_types=[]),
    changed(down_block_types=["NoBlock2D", "AttnDownBlock2D"]),
    changed(time_embedding_type="x"),
    changed(class_embed_type="timestep", num_class_embeds=-1),
]


@pytest.mark.parametrize("harm", CONFIGS)
def test_a_configuration_that_describes_no_network_is_refused(project: Path, harm: Callable[[Path], object]) -> None:
    harm(project / "model" / "unet" / "config.json")
    with pytest.raises(CheckpointError):
        Denoiser.from_pretrained(project / "model")


SCHEDULES = [
    *(written(content) for content in (b"", b"[]", b"null", b"\xff", b"[" * 5000, b"{")),
    *(changed(num_train_timesteps=value, trained_betas=None) for value in (0, -1, 10**9, "x", 1.5, None)),
    *(changed(trained_betas=value) for value in ([2.0], [-1.0], ["x"], "x", [0.1, None])),
    changed(variance_type="none"),
    changed(prediction_type="none"),
]


@pytest.mark.parametrize("harm", SCHEDULES)
def test_a_schedule_that_is_none_is_refused(project: Path, harm: Callable[[Path], object]) -> None:
    harm(project / "model" / "scheduler" / "scheduler_config.json")
    with pytest.raises(CheckpointError):
        Denoiser.from_pretrained(project / "model")


@pytest.mark.parametrize(
    "flags",
    [
        "--num_res_blocks 1000000",
        "--num_channels 99999999",
        "--diffusion_steps 0",
        "--image_size -1",
        "--channel_mult " + "1," * 500 + "1",
        "--attention_resolutions 0",
        "--num_heads 0",
        '--channel_mult "1',
        "--",
        "-- --",
        "--image_size",
        {"image_size": None},
        {"channel_mult": [float("inf")]},
        {"class_cond": True, "class_label": -1},
    ],
)
def test_flags_that_no_network_has_are_refused(tmp_path: Path, flags: Any) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError):
        Denoiser.from_pretrained(tmp_path / "net.pt", flags=flags)


def test_what_is_sound_opens(project: Path) -> None:
    assert shape_of(locate(project / "model", None)).size == (16, 16)
    assert Denoiser.from_pretrained(project / "model").image_shape == (3, 16, 16)

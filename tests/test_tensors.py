import io

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from generate import CheckpointError
from generate.tensors import load_safetensors, load_saved

CONTENT = {"weights": {"a.b": torch.arange(7.0)}, "done": 3}


def saved(*, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(CONTENT, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


@pytest.mark.parametrize("zipped", [True, False], ids=["new format", "before torch 1.6"])
@pytest.mark.parametrize("mmap", [True, False])
def test_what_was_saved_is_read_whatever_the_format(tmp_path, zipped, mmap):
    (tmp_path / "state.pt").write_bytes(saved(zipped=zipped))
    for path in (tmp_path / "state.pt", str(tmp_path / "state.pt")):
        content = load_saved(path, mmap=mmap)
        assert content["done"] == 3
        assert torch.equal(content["weights"]["a.b"], CONTENT["weights"]["a.b"])


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch says so of some damaged bytes
@pytest.mark.parametrize("zipped", [True, False], ids=["new format", "before torch 1.6"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path, zipped):
    whole, path, rng = saved(zipped=zipped), tmp_path / "damaged.pt", np.random.default_rng(0)
    refusals = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 900), 5):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load_saved(path)
        except CheckpointError as error:
            refusals += str(path) in str(error)
    assert refusals > 50


@pytest.mark.parametrize("zipped", [True, False], ids=["new format", "before torch 1.6"])
@pytest.mark.parametrize("portion", [0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, zipped, portion):
    whole = saved(zipped=zipped)
    (tmp_path / "cut.pt").write_bytes(whole[: int(portion * len(whole))])
    with pytest.raises(CheckpointError, match=r"cut\.pt .*cut short"):
        load_saved(tmp_path / "cut.pt")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"state\.pt is not there; a file that torch\.save wrote"):
        load_saved(tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match=r"state\.safetensors cannot be read"):
        load_safetensors(tmp_path / "state.safetensors")


def test_safetensors_are_read_and_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    save_file({"a": torch.arange(7.0)}, path)
    for place in (path, str(path)):
        assert torch.equal(load_safetensors(place)["a"], torch.arange(7.0))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"state\.safetensors cannot be read .*cut short"):
        load_safetensors(path)

"""Consistency models and EDM's networks against numbers of the published code, and against diffusers' pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from generate import ConsistencyModel, EdmModel
from generate.consistency import NoiseNetwork

GOLDEN = Path(__file__).parent / "golden"
FLAGS = json.loads((GOLDEN / "cd_like.json").read_text())["flags"]
SIGMAS = (0.002, 0.5, 3.0, 80.0)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN / "cd_like.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="module")
def model() -> ConsistencyModel:
    return ConsistencyModel.from_pretrained(GOLDEN / "cd_like.pt", flags=FLAGS)


@pytest.fixture(scope="module")
def edm() -> EdmModel:
    return EdmModel.from_pretrained(GOLDEN / "cd_like.pt", flags=FLAGS)


def furthest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.fixture(scope="module")
def in_rows() -> NoiseNetwork:
    """The network in the layout of the published code: where hardly anything enters, as at the least noise, group norms
    of the faster one are 1e-2 off in float32; what the network says there is multiplied with next to nothing."""
    network = ConsistencyModel.from_pretrained(GOLDEN / "cd_like.pt", flags=FLAGS).network
    network.layout = torch.contiguous_format
    network.unet.to(memory_format=network.layout)  # type: ignore[call-overload]
    return network


@pytest.mark.parametrize("sigma", SIGMAS)
def test_network_and_denoised_image_are_those_of_the_published_code(golden, model, edm, in_rows, sigma) -> None:
    x = golden["x"] * sigma
    assert furthest(in_rows(x, sigma), golden[f"cd_raw_{sigma}"]) < 1e-4
    assert furthest(model.denoise(x, sigma), golden[f"cd_denoised_{sigma}"]) < 1e-4
    assert furthest(edm.denoise(x, sigma), golden[f"edm_denoised_{sigma}"]) < 1e-4


def test_one_step_is_that_of_the_published_code(golden, model) -> None:
    (x,) = model.trajectory(golden["noise"], ts=[0])
    assert furthest(x, golden["onestep"]) < 1e-3


@pytest.mark.parametrize("ts", [(0, 17, 39), (0, 10, 22, 39)])
def test_several_steps_are_those_of_the_published_code(golden, model, ts) -> None:
    *_, x = model.trajectory(golden["noise"], ts=ts, step_noise=golden["noises"])
    assert furthest(x, golden[f"multistep_{'_'.join(map(str, ts))}"]) < 1e-3
    *_, same = model.trajectory(golden["noise"], ts=ts[:-1], step_noise=golden["noises"])
    assert torch.equal(x, same)  # the end of the trajectory is no step


def test_heuns_method_is_that_of_the_published_code(golden, edm) -> None:
    *_, x = edm.trajectory(golden["noise"], steps=8)
    assert furthest(x, golden["edm_heun_8"]) < 1e-3

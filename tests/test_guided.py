import json
from pathlib import Path

import numpy as np
import pytest
import torch

from generate import Denoiser, trajectory

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module", params=["adm_lsun_like", "iddpm_like"])
def golden(request):
    """Numbers of the public implementation on a small network of random weights, and that network opened by us."""
    flags = json.loads((GOLDEN / f"{request.param}.json").read_text())["flags"]
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        numbers = {name: torch.from_numpy(file[name]) for name in file.files}
    return Denoiser.from_pretrained(GOLDEN / f"{request.param}.pt", flags=flags), numbers


def test_noising_agrees_with_the_publication(golden):
    denoiser, numbers = golden
    for step in numbers["steps"].tolist():
        x_t = denoiser.add_noise(numbers["x0"], torch.tensor([step] * 2), numbers["noise"])
        torch.testing.assert_close(x_t, numbers[f"xt_{step}"], atol=1e-6, rtol=0)


def test_raw_outputs_agree_with_the_publication(golden):
    denoiser, numbers = golden
    for step in numbers["steps"].tolist():
        out = denoiser(numbers[f"xt_{step}"], torch.tensor([step] * 2))
        torch.testing.assert_close(out, numbers[f"model_out_{step}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("where", ["output", "input"])
def test_activations_of_every_block_agree_with_the_publication(golden, where):
    denoiser, numbers = golden
    blocks = range(len(denoiser.blocks))
    for step in numbers["steps"].tolist():
        maps = denoiser.activations(numbers[f"xt_{step}"], torch.tensor([step] * 2), blocks, where)
        for block, found in zip(blocks, maps, strict=True):
            name = f"act_{where.removesuffix('put')}_{step}_b{block}"
            assert list(found.shape) == numbers[f"{name}_shape"].tolist()
            torch.testing.assert_close(found.mean((2, 3)), numbers[f"{name}_mean_c"], atol=1e-4, rtol=0)
            torch.testing.assert_close(found.std((2, 3)), numbers[f"{name}_std_c"], atol=1e-4, rtol=0)
            if name in numbers:
                torch.testing.assert_close(found, numbers[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_trajectories_agree_with_the_publication(golden, solver):
    denoiser, numbers = golden
    timesteps = numbers[f"{solver}_timesteps"].flip(0).tolist()
    noises = numbers.get(f"{solver}_noises")
    steps = list(
        trajectory(denoiser, numbers[f"{solver}_xT"], solver=solver, timesteps=timesteps, step_noise=noises)
    )
    for found, name in ((steps[0], "after_first"), (steps[6], "after_half"), (steps[-1], "final")):
        torch.testing.assert_close(found, numbers[f"{solver}_{name}"], atol=1e-3, rtol=0)

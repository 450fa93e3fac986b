"""The published network at its full size, 552.8 M parameters of random weights."""

import json

import pytest
from forked import Forked
from published import LSUN, write_state_dict

OPEN = r"""
import json, re, sys, time
import torch
from generate import Denoiser
import diffusers.models.unets.unet_2d_blocks

path, dtype, step = sys.argv[1], getattr(torch, sys.argv[2]), len(sys.argv) > 3
peak = lambda: 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])
before, start = peak(), time.perf_counter()
denoiser = Denoiser.from_pretrained(path, dtype=dtype)
figures = {"before": before, "after": peak(), "seconds": time.perf_counter() - start}
figures["parameters"] = sum(p.numel() for p in denoiser.unet.parameters())
if step:
    start = time.perf_counter()
    maps = denoiser.activations(torch.randn(1, 3, 256, 256), torch.tensor([50]), [5, 6, 7, 8, 12])
    figures |= {"maps": [list(m.shape[1:3]) for m in maps], "pass": time.perf_counter() - start}
print(json.dumps(figures))
"""


@pytest.fixture(scope="module")
def lsun(tmp_path_factory):
    path = tmp_path_factory.mktemp("full") / "lsun_horse.pt"
    write_state_dict(path, LSUN)
    yield path
    path.unlink()


def open_in_a_process_of_its_own(path, *arguments):
    process = Forked(path, *arguments, code=OPEN)
    assert process.wait() == 0, process.said
    return json.loads(process.said)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_published_size_opens_in_half_precision_in_less_memory_than_its_file(lsun, dtype):
    figures = open_in_a_process_of_its_own(lsun, dtype)
    assert figures["after"] - figures["before"] < lsun.stat().st_size


def test_the_published_size_opens_in_hardly_more_memory_than_its_file_and_gives_the_published_maps(lsun):
    figures = open_in_a_process_of_its_own(lsun, "float32", "pass")
    assert round(figures["parameters"] / 1e6, 1) == 552.8
    assert figures["after"] - figures["before"] < 1.1 * lsun.stat().st_size
    assert figures["maps"] == [[1024, 32], [512, 32], [512, 32], [512, 64], [256, 128]]

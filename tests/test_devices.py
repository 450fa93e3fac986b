"""How a process computes: what is told to glibc's malloc is seen in a process of its own."""

import subprocess
import sys

import pytest

TRAINING = """
import resource
import sys
import threading

import numpy as np

from deeplab import build, fit
from pipelines.units.devices import set_up

how, thread = sys.argv[1:]
if how == "set up":
    set_up("cpu")


def train():
    images, masks = np.zeros((16, 64, 64, 3), np.uint8), np.zeros((16, 64, 64), np.uint8)
    network = build(3, variant="v3+", encoder="mobilenet_v2", encoder_depth=3, decoder_channels=16, scale=2)
    for step in fit(network, [(images, masks)] * 8, steps=8):
        if step.number == 5:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


if thread == "main":
    train()
else:
    other = threading.Thread(target=train)
    other.start()
    other.join()
"""


def pages_of_three_steps(how: str, thread: str) -> int:
    """Pages that the kernel handed out, zeroed, for the last steps of a training."""
    told = subprocess.run([sys.executable, "-c", TRAINING, how, thread], capture_output=True, text=True, check=True)
    return int(told.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
@pytest.mark.parametrize("thread", ["main", "another"])
def test_what_a_step_frees_the_next_one_has_without_asking_the_kernel(thread: str) -> None:
    assert pages_of_three_steps("set up", thread) < 4_000
    assert pages_of_three_steps("as it was", thread) > 20_000

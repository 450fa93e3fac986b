"""Two processes of one group against one process on the whole batches, in double precision.

In single precision a change of the weights by 1e-7 grows to 1e-2 in the losses within 20 steps of Adam at 1e-3.
"""

import json
from pathlib import Path

import pytest
from forked import Forked

from deeplab import NetworkError, build
from deeplab.parallel import synchronise_batch_norm

WORKER = """
import json, sys

import numpy as np
import torch
import torch.distributed as dist

from deeplab import Optimisation, Trainee, build

rank, workers, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
if workers > 1:
    dist.init_process_group("gloo", init_method=f"file://{out}.group", rank=rank, world_size=workers)
size, rng = 8 // workers, np.random.default_rng(0)


def batches():
    while True:
        masks = np.kron(rng.integers(0, 3, (8, 4, 4), dtype=np.uint8), np.ones((1, 8, 8), dtype=np.uint8))
        images = np.stack([masks * 80] * 3, axis=-1) + rng.integers(0, 60, (8, 32, 32, 3), dtype=np.uint8)
        masks[:3, :9] = 255  # so that workers see different numbers of labelled pixels
        part = slice(rank * size, (rank + 1) * size)
        yield images[part], masks[part]


model = build(3, encoder="mobilenet_v2", encoder_depth=3, decoder_channels=8, aspp_dropout=0.5)
weights = (1.0, 2.0, 0.5)
trainee = Trainee(model, Optimisation(50), class_weights=weights)
losses = [step.loss for step in trainee.train(batches())]
if rank == 0:
    means = {k: v.mean().item() for k, v in trainee.network.state_dict().items() if "running" in k}
    open(out, "w").write(json.dumps([losses, means]))
"""


def run(tmp_path: Path, workers: int) -> list:
    out = tmp_path / f"losses-{workers}.json"
    started = [Forked(str(rank), str(workers), out, code=WORKER) for rank in range(workers)]
    assert [process.wait() for process in started] == [0] * workers
    return json.loads(out.read_text())


def test_two_workers_have_the_losses_of_one_for_fifty_steps(tmp_path: Path) -> None:
    one, two = run(tmp_path, 1), run(tmp_path, 2)
    assert max(abs(a - b) for a, b in zip(one[0], two[0], strict=True)) < 1e-4
    assert one[1] == pytest.approx(two[1], abs=1e-3)


def test_an_encoder_whose_batch_norm_cannot_be_kept_alike_names_one_that_can() -> None:
    with pytest.raises(NetworkError, match=r"on several workers; train with one, or .*, such as resnet101"):
        synchronise_batch_norm(build(3, encoder="tu-mobilenetv3_small_050"))
    synchronise_batch_norm(build(3, encoder="resnet101"))

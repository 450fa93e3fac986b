import resource
from pathlib import Path

import pytest
import torch

from deeplab import Optimisation, Trainee
from pipelines.errors import StorageError
from pipelines.files import storage
from pipelines.record import CHECKPOINT
from pipelines.training.history import History


@pytest.fixture
def trainee() -> Trainee:
    return Trainee(torch.nn.Conv2d(3, 2, 50), Optimisation(steps=3))


def test_a_history_is_read_as_it_was_written(tmp_path: Path, trainee: Trainee) -> None:
    history = History.start()
    history.losses, trainee.done = [0.5, 0.25], 2
    history.curve.add(2, 0.75, trainee.network)
    history.write(tmp_path, {"seed": 0}, trainee)
    again = History.read(tmp_path, {"seed": 0})
    assert again is not None
    assert (again.losses, again.curve.points, again.curve.best_step) == ([0.5, 0.25], [(2, 0.75)], 2)
    assert storage.names(tmp_path) == {CHECKPOINT}


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(tmp_path: Path, trainee: Trainee) -> None:
    History.start().write(tmp_path, {"seed": 0}, trainee)
    before = (tmp_path / CHECKPOINT).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # a file cannot be larger, as with a quota
    try:
        with pytest.raises(StorageError, match=r"checkpoint\.pt cannot be written: File too large; make room"):
            History.start().write(tmp_path, {"seed": 0}, trainee)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert storage.names(tmp_path) == {CHECKPOINT}


def test_what_kills_left_is_removed_with_the_checkpoint_and_nothing_else(tmp_path: Path, trainee: Trainee) -> None:
    History.start().write(tmp_path, {"seed": 0}, trainee)
    (tmp_path / f".{CHECKPOINT}.00ff.tmp").write_bytes(b"half")
    (tmp_path / "model.safetensors").touch()
    History.forget(tmp_path)
    assert storage.names(tmp_path) == {"model.safetensors"}

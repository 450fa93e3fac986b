"""The stage itself; kills are real ones, of the command in a process of its own."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from label import Scheme
from pipelines import Recipe
from pipelines.shards import Candidate, Dataset, Sample, claim, class_pixels, pack, write_shard
from pipelines.train_deeplab import train
from pipelines.training_log import CHECKPOINT

COMMAND = [sys.executable, "-c", "from pipelines.cli import main; main()", "train"]
SCHEME = Scheme(("ground", "square", "dot"))


@pytest.fixture
def made(project: Path) -> Path:
    """A project with a dataset of 3 shards, 22 samples in all."""
    folder, rng = project / "out" / "dataset", np.random.default_rng(0)
    colors = [list(color) for color in SCHEME.colors]
    claim(folder, Dataset("digest", list(SCHEME.names), colors, {}, "denoiser", "interpreter", {}))
    for unit, seeds in enumerate((range(4), range(4, 12), range(12, 22))):
        samples = []
        for seed in seeds:
            mask = rng.integers(0, 3, (16, 16), dtype=np.uint8)
            image = np.stack([mask * 90] * 3, axis=-1) + rng.integers(0, 40, (16, 16, 3), dtype=np.uint8)
            samples.append(Sample(seed, image, mask, seed / 100, {}, rng.random((16, 16)).astype(np.float32)))
        candidates = [Candidate(s.seed, True, s.uncertainty, class_pixels(s.mask, SCHEME)) for s in samples]
        write_shard(folder, unit, "digest", pack(samples, SCHEME), candidates, {})
    return project


def recipe_of(project: Path, **changes: Any) -> Recipe:
    settings = {"steps": 8, "baseline": False, "checkpoint_every": 2, **changes}
    return Recipe.load(project / "recipe.toml", overrides(project, settings))


def overrides(project: Path, settings: dict[str, Any]) -> tuple[str, ...]:
    validation = f'paths.validation="{project / "annotated"}"'
    return (validation, *(f"train.{key}={json.dumps(value)}" for key, value in settings.items()))


def results(project: Path, out: str = "out", source: str = "synthetic") -> dict[str, Any]:
    return json.loads((project / out / "deeplab" / f"{source}-seed0" / "stage.json").read_text())["results"]


def twin(project: Path, name: str) -> str:
    """An override that puts what is made into another folder, beside a copy of the dataset."""
    shutil.copytree(project / "out" / "dataset", project / name / "dataset")
    return f'paths.out="{project / name}"'


def test_a_training_killed_at_any_moment_ends_with_the_losses_and_the_curve_of_one_that_was_not(made: Path) -> None:
    changes = {"steps": 40, "baseline": False, "checkpoint_every": 3, "ema_decay": 0.9, "accumulate": 2}
    train(Recipe.load(made / "recipe.toml", overrides(made, changes)))
    elsewhere = (*overrides(made, changes), twin(made, "killed"))
    arguments = [argument for override in elsewhere for argument in ("--set", override)]
    checkpoint, kills = made / "killed" / "deeplab" / "synthetic-seed0" / CHECKPOINT, 0
    for delay in (0.0, 0.3):  # after a first checkpoint of this life: right away, and in the middle of an epoch
        before = checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0
        process = subprocess.Popen([*COMMAND, str(made / "recipe.toml"), *arguments], stdout=subprocess.DEVNULL)
        while process.poll() is None and not (checkpoint.is_file() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 1, "at least one kill came before the end"
    train(Recipe.load(made / "recipe.toml", elsewhere))
    undisturbed, killed = results(made), results(made, "killed")
    assert len(undisturbed["validation"]) == 14
    assert killed == undisturbed
    assert not checkpoint.exists()

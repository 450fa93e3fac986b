"""Stage train-ddpm on several workers of Ray: what they end with, how they are stopped, how many they are."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import wait_for
from forked import Forked

from cluster import Cluster
from generate.tensors import load_saved
from pipelines.folders import ddpm_folder
from pipelines.pictures import pictures
from pipelines.progress import Pace
from pipelines.recipe import Recipe
from pipelines.record import CHECKPOINT, part_of
from pipelines.stages.train_ddpm import train_ddpm
from pipelines.training.painter import Painting, paint

Command = Callable[..., str]


def recipe_of(project: Path, out: str, **keys: Any) -> Recipe:
    places = (f'paths.out="{project / out}"', f'paths.denoiser="{project / out / "model"}"', "cluster.gpus=0")
    return Recipe.load(project / "recipe.toml", (*places, *(f"train_ddpm.{key}={keys[key]}" for key in keys)))


def stopped_at_once(recipe: Recipe) -> Path:
    """Its folder, with a checkpoint of one worker after the first update."""
    assert isinstance(recipe.paths.unlabelled, Path)
    seen = pictures(recipe.paths.unlabelled)
    inputs = {"train_ddpm": recipe.train_ddpm.made_with(), "images": seen.files}
    folder = part_of(ddpm_folder(recipe), inputs)
    folder.mkdir(parents=True)
    paint(Painting(recipe.train_ddpm, seen.found, inputs, folder), lambda: True)
    return folder


def trained(recipe: Recipe) -> dict[str, torch.Tensor]:
    train_ddpm(recipe)
    return load_saved(ddpm_folder(recipe) / CHECKPOINT)["unet"]


def test_two_workers_end_with_the_weights_of_one(project: Path, ray_cluster: Cluster) -> None:
    """In single precision an update of Adam's moves a weight whose gradient is almost 0 either way."""
    one, two = (trained(recipe_of(project, f"out-{count}", workers=count, batch_size=4)) for count in (1, 2))
    differences = torch.cat([(one[name] - two[name]).abs().flatten() for name in one])
    assert differences.mean() < 1e-6
    assert differences.max() < 1e-3


def test_fewer_workers_than_were_asked_go_on_and_it_is_said_once(
    project: Path, ray_cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of(project, "out", workers=9, batch_size=9)
    part = stopped_at_once(recipe)
    assert load_saved(part / CHECKPOINT)["done"] == 1
    capfd.readouterr()
    train_ddpm(recipe)
    said = capfd.readouterr().out
    assert said.count("4 workers with 1 CPUs, 0 GPUs; there is no room for 9") == 1
    assert load_saved(ddpm_folder(recipe) / CHECKPOINT)["done"] == 4
    assert (ddpm_folder(recipe) / "sheet-0000004.png").is_file()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_loses_no_update(project: Path, workers: int) -> None:
    keys = {"updates": 100_000, "checkpoint_every": 100_000, "workers": workers}
    overrides = [word for key, value in keys.items() for word in ("--set", f"train_ddpm.{key}={value}")]
    target = ["--set", f'paths.denoiser="{project / "trained"}"', "--set", "cluster.gpus=0"]
    process = Forked("train-ddpm", project / "recipe.toml", *target, *overrides)

    def is_training() -> bool:
        return any(Pace.read(part) for part in (project / "out").glob("train-ddpm.part-*"))

    wait_for(lambda: process.poll() is not None or is_training())
    os.kill(process.pid, signal.SIGTERM)
    process.wait()
    assert process.returncode == 128 + signal.SIGTERM, process.said
    found = re.search(r"last checkpoint is kept in (\S+), at update (\d+) of 100000; the same", process.said)
    assert found, process.said
    assert load_saved(Path(found[1]) / CHECKPOINT)["done"] == int(found[2]) >= 1

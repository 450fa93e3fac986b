"""Stage train-ddpm: what it goes on from, what it refuses, and where its models go."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import wait_for
from forked import Forked
from PIL import Image

Command = Callable[..., str]


@pytest.fixture
def settings(project: Path) -> list[str | Path]:
    return [project / "recipe.toml", "--set", f'paths.denoiser="{project / "trained"}"']


def stopped(settings: list[str | Path], project: Path, number: signal.Signals, parts: int = 1) -> Forked:
    """A long training that got this signal after its first checkpoint, which is one of so many."""
    process = Forked("train-ddpm", *settings, "--set", "train_ddpm.updates=4000")
    kept = "train-ddpm.part-*/progress.json"
    wait_for(lambda: process.poll() is not None or len(list((project / "out").glob(kept))) == parts)
    os.kill(process.pid, number)
    process.wait()
    return process


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_it_in_one_sentence_and_the_same_command_goes_on(
    project: Path, settings: list[str | Path], command: Command, number: signal.Signals, said: str
) -> None:
    process = stopped(settings, project, number)
    assert process.returncode == 128 + number, process.said
    (part,) = (project / "out").glob("train-ddpm*")
    sentence = process.said.strip()
    assert sentence.startswith(f"datasetddpm: stopped by {said}; "), sentence
    assert f"its last checkpoint is kept in {part}, at update " in sentence
    assert sentence.endswith(" of 4000; the same command goes on")
    assert not (project / "trained").exists()
    said_again = command("train-ddpm", *settings)
    assert f"{part} is unfinished, of another recipe: train_ddpm.updates was 4000, is 4; it stays" in said_again


def test_two_on_one_folder_exclude_each_other(project: Path, settings: list[str | Path], command: Command) -> None:
    process = Forked("train-ddpm", *settings, "--set", "train_ddpm.updates=4000")
    try:
        wait_for(lambda: process.poll() is not None or list((project / "out").glob("train-ddpm.part-*/progress.json")))
        said = command("train-ddpm", *settings, code=1)
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()
    assert f"{project}/out/train-ddpm is one where process {process.pid} on " in said
    assert len(said.splitlines()) == 1


def test_other_settings_make_another_model_and_the_first_comes_back(
    project: Path, settings: list[str | Path], command: Command
) -> None:
    weights = project / "trained" / "unet" / "diffusion_pytorch_model.safetensors"
    command("train-ddpm", *settings)
    first = weights.read_bytes()
    command("train-ddpm", *settings, "--set", "train_ddpm.seed=1")
    second = weights.read_bytes()
    assert first != second
    assert "found" in command("train-ddpm", *settings)
    assert weights.read_bytes() == first
    assert "found" in command("train-ddpm", *settings, "--set", "train_ddpm.seed=1")
    assert weights.read_bytes() == second


def test_a_model_that_was_not_made_here_is_put_aside(project: Path, command: Command) -> None:
    before = (project / "model" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    command("train-ddpm", project / "recipe.toml")
    (kept,) = project.glob("model@*/unet/*.safetensors")
    assert kept.read_bytes() == before


def test_another_prediction_or_rate_does_not_go_on_from_the_checkpoint(
    project: Path, settings: list[str | Path]
) -> None:
    stopped(settings, project, signal.SIGTERM)
    for number, setting in enumerate(('train_ddpm.prediction="epsilon"', "train_ddpm.learning_rate=0.5")):
        process = stopped([*settings, "--set", setting], project, signal.SIGKILL, parts=number + 2)
        assert f"is unfinished, of another recipe: {setting.partition('=')[0]} was " in process.said


def test_images_that_changed_begin_another_training_and_the_first_is_named(
    project: Path, settings: list[str | Path], command: Command
) -> None:
    stopped(settings, project, signal.SIGTERM)
    Image.new("RGB", (40, 40), "red").save(project / "annotated" / "new.png")
    said = command("train-ddpm", *settings)
    assert "is unfinished, of another recipe: " in said


@pytest.mark.parametrize("content", [b"", b"nothing", {"unet": 1}, {"origin": {"images": {}}}])
def test_a_file_that_is_no_checkpoint_of_it_is_said_in_one_sentence(
    project: Path, settings: list[str | Path], command: Command, content: object
) -> None:
    stopped(settings, project, signal.SIGTERM)
    (checkpoint,) = (project / "out").glob("train-ddpm.part-*/checkpoint.pt")
    if isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        torch.save(content, checkpoint)
    (said,) = command("train-ddpm", *settings, "--set", "train_ddpm.updates=4000", code=2).splitlines()
    assert said.startswith(f"datasetddpm: {checkpoint} is ")
    assert f"; remove {checkpoint.parent} to train anew" in said


def test_a_place_that_takes_no_model_is_named_before_the_training(project: Path, command: Command) -> None:
    (project / "file").touch()
    target = project / "file" / "below" / "model"
    said = command("train-ddpm", project / "recipe.toml", "--set", f'paths.denoiser="{target}"', code=1)
    assert said.startswith(f"datasetddpm: {target.parent} takes no files: Not a directory; name another folder, or ")
    assert not (project / "out").exists()

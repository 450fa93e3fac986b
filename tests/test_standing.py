"""What a stage says of what it stands on: of another recipe, or older than a training that goes on."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., str]


def test_evaluate_names_the_key_in_which_a_network_differs_from_the_recipe(finished: Path, command: Command) -> None:
    command("evaluate", finished / "recipe.toml")
    said = command("evaluate", finished / "recipe.toml", "--set", "train.steps=300", code=2)
    assert said == (
        f"datasetddpm: the network in {finished}/out/deeplab/synthetic-seed0 is of another recipe: train.steps was 4, "
        "is 300; run `datasetddpm train` again, or restore the recipe\n"
    )
    assert "found scores" in command("evaluate", finished / "recipe.toml")


@pytest.mark.parametrize("stage", ["generate", "evaluate"])
def test_a_stage_names_the_key_in_which_the_interpreter_differs(finished: Path, command: Command, stage: str) -> None:
    said = command(stage, finished / "recipe.toml", "--set", "interpreter.members=4", code=2)
    assert said == (
        f"datasetddpm: the interpreter in {finished}/out/interpreter is of another recipe: interpreter.members was 3, "
        "is 4; run `datasetddpm fit` again, or restore the recipe\n"
    )


def test_fit_again_with_the_old_recipe_finds_the_old_interpreter(finished: Path, command: Command) -> None:
    assert "made" in command("fit", finished / "recipe.toml", "--set", "interpreter.members=2")
    assert "found an interpreter of 3 members" in command("fit", finished / "recipe.toml")
    assert "found an interpreter of 2 members" in command(
        "fit", finished / "recipe.toml", "--set", "interpreter.members=2"
    )


def test_a_model_that_is_older_than_an_unfinished_training_is_said_in_one_sentence(
    project: Path, command: Command
) -> None:
    part = project / "out" / "train-ddpm.part-00000000"
    part.mkdir(parents=True)
    (part / "checkpoint.pt").touch()
    (part / "progress.json").write_text('{"done": 400, "total": 1000, "noun": "update"}')
    sentence = (
        f"warning: the training in {part} is unfinished, at update 400 of 1000; paths.denoiser, {project}/model, "
    )
    assert sentence in command("fit", project / "recipe.toml")
    past = time.time() - 3600
    os.utime(part / "checkpoint.pt", (past, past))
    assert "warning" not in command("fit", project / "recipe.toml")

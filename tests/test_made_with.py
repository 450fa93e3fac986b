"""What was made by other settings than the recipe's is told apart from what is done, and is nothing to stand on."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import Recipe
from pipelines.stages.made_with import other_settings

Command = Callable[..., str]


@pytest.mark.parametrize(
    ("stage", "override", "clause"),
    [
        ("fit", "interpreter.members=4", "interpreter.members was 3, is 4"),
        ("generate", "generate.steps=7", "generate.steps was 3, is 7"),
        ("generate", 'denoiser.dtype="float16"', ""),
        ("generate", 'generate.batch_size="auto"', ""),
        ("generate", "generate.samples=60", ""),
        ("train", "train.steps=9", "train.steps was 4, is 9"),
        ("train", "train.workers=2", ""),
        ("sample", "generate.run_seed=3", "generate.run_seed was 0, is 3"),
        ("train-ddpm", "train_ddpm.updates=9", "train_ddpm.updates was 4, is 9"),
    ],
)
def test_the_first_key_that_differs_is_named(
    finished: Path, command: Command, stage: str, override: str, clause: str
) -> None:
    if stage in ("sample", "train-ddpm"):
        command(stage, finished / "recipe.toml")
    assert other_settings(stage, Recipe.load(finished / "recipe.toml")) == ""
    assert other_settings(stage, Recipe.load(finished / "recipe.toml", (override,))) == clause


def test_scores_of_networks_that_were_trained_anew_are_outdated(finished: Path, command: Command) -> None:
    command("evaluate", finished / "recipe.toml")
    recipe = Recipe.load(finished / "recipe.toml")
    assert other_settings("evaluate", recipe) == ""
    command("train", finished / "recipe.toml", "--set", "train.steps=5")
    assert other_settings("evaluate", recipe) == "networks.synthetic has changed"


def test_status_and_check_say_what_is_outdated_and_which_command_makes_it_anew(
    finished: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cli.setup.console.width", 300)
    call = (finished / "recipe.toml", "--set", "train.steps=9")
    line = next(line for line in command("status", *call).splitlines() if line.startswith("train "))
    assert line.startswith("train       outdated    ")
    assert line.endswith(f", train.steps was 4, is 9: `datasetddpm train {call[0]} --set train.steps=9`")
    said = command("check", call[0], "--set", "interpreter.members=4")
    assert "outdated: interpreter.members was 3, is 4" in said
    assert f"next: datasetddpm fit {call[0]} --set interpreter.members=4" in said


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

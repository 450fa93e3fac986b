"""What a stage stands on is looked for before anything slow; what comes next is a whole command."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., str]


@pytest.mark.parametrize(
    ("stage", "gone", "sentence", "first"),
    [
        ("generate", "interpreter", "holds no interpreter", "fit"),
        ("train", "dataset", "holds no dataset.json", "generate"),
        ("evaluate", "deeplab", "holds no network", "train"),
        ("report", "dataset", "holds no dataset.json", "generate"),
        ("report", "scores", "holds no scores", "evaluate"),
    ],
)
def test_a_stage_out_of_order_names_the_whole_command_to_run_first(
    finished: Path, command: Command, stage: str, gone: str, sentence: str, first: str
) -> None:
    recipe, settings = finished / "recipe.toml", ("--set", "interpreter.steps=[50, 150]")
    shutil.rmtree(finished / "out" / gone, ignore_errors=True)
    (said,) = command(stage, recipe, *settings, code=2).splitlines()
    line = shlex.join(["datasetddpm", first, str(recipe), *settings])
    assert said == f"datasetddpm: {finished / 'out' / gone} {sentence}; run `{line}` first"


def test_a_missing_model_is_made_by_train_ddpm_where_there_are_photographs(project: Path, command: Command) -> None:
    shutil.rmtree(project / "model")
    assert "is not there; run `datasetddpm train-ddpm" in command("fit", project / "recipe.toml", code=2)
    recipe = project / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("unlabelled =", "validation ="))
    assert "model, is not there; a diffusion model is needed" in command("fit", project / "recipe.toml", code=2)


def test_next_is_the_whole_command_with_its_settings_ready_for_a_shell(finished: Path, command: Command) -> None:
    recipe, settings = finished / "recipe.toml", ("--set", 'paths.held_out="annotated"')
    said = command("train", recipe, *settings, "--address", "local").splitlines()[-1]
    assert said == f"next: {shlex.join(['datasetddpm', 'evaluate', str(recipe), *settings])}"
    assert command("fit", recipe, "--address", "local", code=2)  # fit finds no machines of its own


@pytest.mark.parametrize("annotated", ["none", "another folder", "the samples"])
def test_after_sample_a_person_annotates_and_then_fits(project: Path, command: Command, annotated: str) -> None:
    recipe, samples = project / "recipe.toml", project / "out" / "samples"
    place = {"none": "", "another folder": 'annotated = "few"\n', "the samples": 'annotated = "out/samples"\n'}
    recipe.write_text(recipe.read_text().replace('annotated = "annotated"\n', place[annotated]))
    said = command("sample", recipe, "-n", "2").splitlines()[-1]
    assert len(list(samples.glob("*.png"))) == 2
    beside = f"next: annotate the images in {samples} (each needs NAME.mask.png beside it)"
    put = f", put both into {project / 'few'}" if annotated == "another folder" else ""
    chosen = ["--set", f'paths.annotated="{samples}"'] if annotated == "none" else []
    assert said == f"{beside}{put}, then: {shlex.join(['datasetddpm', 'fit', str(recipe), *chosen])}"

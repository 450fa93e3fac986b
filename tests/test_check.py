"""`datasetddpm check`: what a recipe names is looked at in a second or two, and nothing is written."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import latent_models
import numpy as np
import pytest
from conftest import content
from PIL import Image

Command = Callable[..., str]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.cli.setup.console.width", 300)


def checked(command: Command, project: Path, *overrides: str, code: int = 0) -> str:
    before, settings = content(project), [word for override in overrides for word in ("--set", override)]
    said = command("check", project / "recipe.toml", *settings, code=code)
    assert content(project) == before
    return " ".join(said.split())


def test_a_whole_project_is_described_and_fit_comes_next(project: Path, command: Command) -> None:
    said = checked(command, project)
    assert "ok paths.denoiser images of 16x16 pixels, 4 decoder blocks: 0 to 3" in said
    assert "ok paths.unlabelled 4 images, 16x16 pixels, cut to squares of 16" in said
    assert "ok paths.annotated 4 images; ground 66.02%, square 31.64%, dot 2.34%; 0.0% of all pixels ignored" in said
    assert "train-ddpm made fit ready generate waits for fit train waits for generate" in said
    assert said.endswith(f"next: datasetddpm fit {project / 'recipe.toml'}")


def test_what_is_made_is_told_from_what_is_ready(finished: Path, command: Command) -> None:
    said = checked(command, finished, 'paths.unlabelled="annotated"')
    assert "fit made" in said
    assert "train made evaluate ready report waits for evaluate" in said


@pytest.mark.parametrize(
    ("stage", "file", "clause", "options"),
    [
        ("fit", "interpreter/interpreter.safetensors", "interpreter/interpreter.safetensors is damaged or gone", ""),
        ("train", "deeplab/annotated-seed0/model.safetensors", "annotated-seed0/model.safetensors is damaged or", ""),
        ("generate", "dataset/shard-000002.tar", "shard-000002.tar has 512 bytes, its report says ", " --repair"),
    ],
)
def test_a_stage_of_which_a_file_is_damaged_is_so_called_as_status_calls_it_and_comes_next(
    finished: Path, command: Command, stage: str, file: str, clause: str, options: str
) -> None:
    path = finished / "out" / file
    path.write_bytes(path.read_bytes()[:512])
    said = checked(command, finished)
    assert f"{stage} damaged: {clause}" in said
    line = f"datasetddpm {stage} {finished / 'recipe.toml'}{options}"
    assert f"evaluate waits for {stage}, which is damaged: `{line}`" in said
    assert said.endswith(f"next: {line}")
    line = next(
        line for line in command("status", finished / "recipe.toml").splitlines() if line.startswith(f"{stage} ")
    )
    assert line.split()[1] == "damaged"
    assert clause in line


def test_what_no_command_makes_again_says_what_to_do_and_no_command_comes_next(
    finished: Path, command: Command
) -> None:
    (finished / "out" / "dataset" / "dataset.json").unlink()
    said = checked(command, finished)
    remedy = "holds shards, but no dataset.json; restore it, or remove the folder"
    assert said.count(remedy) == 2
    assert f"generate damaged: {finished / 'out' / 'dataset'} {remedy}" in said
    assert f"evaluate waits for generate, which is damaged: {finished / 'out' / 'dataset'} {remedy}" in said
    assert "next:" not in said


@pytest.mark.parametrize(
    "settings",
    [['paths.denoiser="sd"'], ['paths.painter="sd"', 'painter.kind="latent"', 'painter.prompts=["a horse"]']],
    ids=["reads", "paints"],
)
def test_a_model_that_reads_words_needs_transformers(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch, settings: list[str]
) -> None:
    latent_models.saved(latent_models.stable_diffusion(), project / "sd")
    said = checked(command, project, *settings)
    assert "packages" not in said
    monkeypatch.setattr("pipelines.stages.check.find_spec", lambda name: None if name == "transformers" else name)
    sentence = "wrong packages transformers are not installed; pip install them"
    assert sentence in checked(command, project, *settings, code=2)
    assert sentence not in checked(command, project)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["interpreter.blocks=[3, 9]"], "wrong interpreter.blocks [9] are not among blocks 0 to 3"),
        (['paths.held_out="model"'], "wrong paths.held_out"),
        (['paths.unlabelled="nowhere"'], "nowhere does not exist; images are needed there"),
        (["generate.samples=600000000"], "wrong generate.samples 600000000 take at most"),
        (
            ['classes.names=["ground", "square", "dot", "star"]'],
            "wrong paths.annotated no pixel of star; annotate some",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_key_and_ends_in_exit_code_2(
    project: Path, command: Command, overrides: list[str], sentence: str
) -> None:
    assert sentence in checked(command, project, *overrides, code=2)


def test_a_mask_that_does_not_fit_is_wrong(project: Path, command: Command) -> None:
    Image.fromarray(np.full((16, 16), 9, dtype=np.uint8)).save(project / "annotated" / "2.mask.png")
    assert "the mask of 2.png has class 9" in checked(command, project, code=2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_wrong(project: Path, command: Command) -> None:
    (project / "locked").mkdir(mode=0o500)
    assert "locked may not be written to" in checked(command, project, 'paths.out="locked/out"', code=2)


def test_a_model_to_come_and_images_to_annotate_are_not_yet_there(project: Path, command: Command) -> None:
    (project / "few").mkdir()
    said = checked(command, project, 'paths.denoiser="trained"', 'paths.annotated="few"')
    assert f"not yet paths.denoiser {project / 'trained'} is not there; train-ddpm will write it" in said
    assert f"not yet paths.annotated {project / 'few'} holds no images" in said
    assert "train-ddpm ready sample waits for train-ddpm fit waits for train-ddpm" in said


def test_a_check_needs_neither_torch_nor_ray(project: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipelines import Recipe; from pipelines.stages.check import check\n"
        f"assert len(check(Recipe.load(Path({str(project / 'recipe.toml')!r})))) > 4\n"
        "sys.exit(' '.join({'torch', 'ray', 'diffusers', 'webdataset'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

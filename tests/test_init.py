"""`datasetddpm init`: a recipe and a scheme to begin with, which fit the photographs or the model."""

import re
from collections.abc import Callable
from pathlib import Path

import latent_models
import numpy as np
import pytest
from conftest import content
from PIL import Image

from label import Scheme
from pipelines import Recipe

Command = Callable[..., str]


def photographs(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate(sizes):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


def test_photographs_give_a_recipe_of_their_size_and_an_hour_of_updates(tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "Kätzchen und Hunde"
    images = photographs(folder / "photos", [(40, 33)] * 3 + [(20, 90)])
    said = command("init", folder, "--images", images)
    recipe = Recipe.load(folder / "recipe.toml")
    assert (recipe.name, recipe.paths.unlabelled) == ("Kätzchen und Hunde", images)
    assert recipe.paths.denoiser == folder / "model"
    settings = recipe.train_ddpm
    assert (settings.network.size, settings.training.mirror) == (32, False)
    (updates, seconds) = re.findall(r"updates = ([\d_]+) .* took ([\d.]+) s", (folder / "recipe.toml").read_text())[0]
    assert int(updates) == settings.training.updates
    assert int(updates) == 2000 or int(updates) * float(seconds) == pytest.approx(3600, rel=0.2)
    assert Scheme.load(folder / "annotated" / "scheme.toml").names == ("background", "thing")
    assert 'unlabelled = "photos"  # ' in (folder / "recipe.toml").read_text(), "both may be moved together"
    assert said.splitlines()[-1].endswith(f"then: datasetddpm check '{folder / 'recipe.toml'}'")


def test_a_model_gives_a_recipe_with_its_blocks(project: Path, command: Command) -> None:
    command("init", project / "mine", "--model", project / "model")
    recipe = Recipe.load(project / "mine" / "recipe.toml")
    assert recipe.interpreter.blocks == [0, 1, 2, 3]
    assert recipe.paths.denoiser == project / "model"
    said = " ".join(command("check", project / "mine" / "recipe.toml").split())
    assert said.endswith(f"next: datasetddpm sample {project / 'mine' / 'recipe.toml'}")


@pytest.mark.parametrize("has_words", [False, True])
def test_a_latent_model_is_named_as_reader_and_painter_and_paints_at_once(
    tmp_path: Path, command: Command, has_words: bool
) -> None:
    pipeline = latent_models.stable_diffusion() if has_words else latent_models.plain()
    model = latent_models.saved(pipeline, tmp_path / "latent")
    command("init", tmp_path / "mine", "--model", model)
    recipe = tmp_path / "mine" / "recipe.toml"
    read = Recipe.load(recipe)
    assert (read.paths.denoiser, read.paths.painter, read.painter.kind) == (model, model, "latent")
    assert read.painter.prompts == (["a photo"] if has_words else [])
    said = " ".join(command("check", recipe).split())
    assert said.endswith(f"next: datasetddpm sample {recipe}")
    command("sample", recipe, "-n", "2", "--set", "generate.steps=2")
    assert len(list((tmp_path / "mine" / "out" / "samples").glob("*.png"))) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "photographs or a model are needed, one of them: --images FOLDER, or --model PLACE"),
        (["--images", "{}/none"], "none holds no images that can be read; photographs of one domain are needed there"),
        (["--model", "{}/annotated"], "annotated holds no unet/config.json"),
        (["--model", "{}/model"], "scheme.toml: there already; name another folder, or remove it"),
    ],
)
def test_what_init_cannot_do_is_said_and_nothing_is_written(
    project: Path, command: Command, arguments: list[str], sentence: str
) -> None:
    folder = project if arguments == ["--model", "{}/model"] else project / "new"
    before = content(project)
    (said,) = command("init", folder, *(word.format(project) for word in arguments), code=2).splitlines()
    assert sentence in said
    assert content(project) == before

"""Interpreters of other feature sources than the denoiser, through a recipe's one key."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from published import write_small_mae

from label import Interpreter
from label.source_kinds import KINDS
from pipelines import Recipe
from pipelines.dataset.index import write_index
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.shards import read_shards
from pipelines.errors import RecipeError
from pipelines.stages.fit import fit
from pipelines.units.builder import build, planned
from pipelines.units.identity import identify
from pipelines.units.models import Models, open_features, open_interpreter

MAE = ("interpreter.features=mae", "interpreter.mae_heads=2", "interpreter.layers.mae=[0, 2]")
TIMM = ('interpreter.features="timm:resnet18"', 'paths.weights={ "timm:resnet18" = "random" }')
JOINED = (
    'interpreter.features=["denoiser", "mae"]',
    "interpreter.mae_heads=2",
    "interpreter.layers.mae=[1]",
    "paths.weights.mae=mae.pth",
)


@pytest.fixture
def with_mae(project: Path) -> Path:
    """The project with a MAE of random weights: 16x16 pixels, three blocks of 32."""
    write_small_mae(project / "mae.pth")
    with (project / "recipe.toml").open("a") as file:
        file.write('[paths.weights]\nmae = "mae.pth"\n')
    return project


def opened(project: Path, *overrides: str) -> Recipe:
    return Recipe.load(project / "recipe.toml", overrides)


@pytest.mark.parametrize(
    "settings", [MAE, TIMM, JOINED, (*MAE, "interpreter.mirrored=true"), ("interpreter.noises=2",)]
)
def test_a_dataset_is_made_through_any_source(with_mae, settings):
    recipe = opened(with_mae, *settings)
    assert fit(recipe).fresh
    assert not fit(recipe).fresh
    models = Models.of(recipe, "cpu")
    assert identify(recipe) == models.identity
    build(planned(recipe))(0)
    stored = list(read_shards(with_mae / "out" / "dataset"))
    again = models.interpreter.predict(np.stack([sample.image for sample in stored])).masks
    assert all(np.array_equal(sample.mask, mask) for sample, mask in zip(stored, again, strict=True))


def test_the_page_of_a_dataset_says_what_its_interpreter_reads(with_mae, command):
    recipe = opened(with_mae, *JOINED)
    fit(recipe)
    plan = planned(recipe)
    make = build(plan)
    for unit in recipe.generate.units:
        make(unit)
    write_index(take_inventory(plan.folder))
    command("card", with_mae / "out" / "dataset", "--license", "mit", "--title", "Squares")
    assert "| what it reads | denoiser, mae |" in (with_mae / "out" / "dataset" / "README.md").read_text()


def test_an_interpreter_of_another_source_needs_no_denoiser_to_label(with_mae):
    recipe = opened(with_mae, *MAE, "interpreter.image_size=16")
    shutil.rmtree(with_mae / "model")
    fit(recipe)
    assert open_interpreter(recipe, "cpu").features.image_size == (16, 16)
    assert Interpreter.from_pretrained(with_mae / "out" / "interpreter").features.channels == 64


def test_commands_run_with_the_key_changed_and_back(command, with_mae):
    changed = [word for setting in MAE for word in ("--set", setting)]
    recipe = with_mae / "recipe.toml"
    command("fit", recipe)
    command("fit", recipe, *changed)
    said = command("segment", recipe, with_mae / "annotated" / "0.png", "--out", with_mae / "masks", code=2)
    assert "interpreter.features is denoiser; run `datasetddpm fit` again, or restore the recipe" in said
    command("segment", recipe, with_mae / "annotated" / "0.png", "--out", with_mae / "masks", *changed)
    assert (with_mae / "masks" / "0.mask.png").is_file()
    assert 'interpreter.features was "mae", is "denoiser"' in command("generate", recipe, code=2)
    assert "fit: found" in command("fit", recipe)


def test_a_digest_does_not_depend_on_where_weights_lie(with_mae):
    recipe = opened(with_mae, *MAE)
    digest = open_features(recipe, "cpu").digest
    fit(recipe)
    whole = identify(recipe)
    (with_mae / "elsewhere").mkdir()
    shutil.move(with_mae / "mae.pth", with_mae / "elsewhere" / "weights.pth")
    moved = opened(with_mae, *MAE, "paths.weights.mae=elsewhere/weights.pth")
    assert open_features(moved, "cpu").digest == digest
    assert identify(moved) == whole == Models.of(moved, "cpu").identity
    assert not fit(moved).fresh


def test_older_records_and_digests_stay_as_they_were():
    plain = opened_section({})
    assert not {"features", "noises", "mirrored", "layers", "image_size", "mae_heads"} & set(plain)
    assert "steps" in plain
    assert "steps" not in opened_section({"features": "mae"})


def opened_section(keys):
    from pipelines.sections.interpreter import InterpreterSection

    return InterpreterSection.model_validate(keys).made_with()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("interpreter.features=swaw",), "'swaw' is no feature source; is swav meant?.*known are denoiser, swav"),
        (('interpreter.features=["mae", "mae"]',), "each source can be there once"),
        (("interpreter.features=mae", "interpreter.noises=2"), "noises = 2 needs the denoiser"),
        (("interpreter.layers.denoiser=[1]",), "the denoiser's are steps and blocks"),
        (("interpreter.layers.mea=[1]",), "'mea' is no feature source; is mae meant"),
    ],
)
def test_a_key_that_cannot_be_is_told(project, settings, sentence):
    with pytest.raises(RecipeError, match=sentence):
        opened(project, *settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ("interpreter.features=swav",),
            'the file of the weights of swav is missing; name it in .paths., as weights.swav = "FILE"',
        ),
        (("interpreter.features=swav", "paths.weights.swav=random"), "random, which timm's networks alone can be"),
        (("interpreter.features=swav", "paths.weights.swav=no.pth"), "paths.weights.swav, .*no.pth, is not there; put"),
        (
            ("interpreter.features=swav", "paths.weights.swav=mae.pth"),
            "is no checkpoint of SwAV, which holds 'state_dict'",
        ),
        (("interpreter.features=mae",), "32 wide, and its attention heads are not known; set interpreter.mae_heads"),
        (
            ("interpreter.features=mae", "interpreter.mae_heads=2", "interpreter.layers.mae=[3]"),
            r"layers 0 to 2; \[3\]",
        ),
        (
            ("interpreter.features=timm:resnet81", 'paths.weights={ "timm:resnet81" = "random" }'),
            "timm has no resnet81 .*near are resnet",
        ),
        (("interpreter.features=mae", "interpreter.mae_heads=5"), "32 wide, which 5 attention heads do not divide"),
    ],
)
def test_bad_weights_are_one_sentence_and_exit_code_2(command, with_mae, settings, sentence):
    import re

    overrides = [word for setting in settings for word in ("--set", setting)]
    said = command("fit", with_mae / "recipe.toml", *overrides, code=2)
    assert re.search(sentence, said), said
    assert "Traceback" not in said


def test_a_source_without_its_package_is_one_sentence(command, with_mae, monkeypatch):
    import label.saved_sources

    monkeypatch.setattr(label.saved_sources, "find_spec", lambda name: None)
    overrides = [word for setting in MAE for word in ("--set", setting)]
    said = command("fit", with_mae / "recipe.toml", *overrides, code=2)
    assert "mae needs the package timm, which is not installed; pip install timm" in said


def test_an_interpreters_weights_that_are_gone_are_named_with_the_remedy(with_mae):
    fit(opened(with_mae, *MAE))
    (with_mae / "mae.pth").unlink()
    from label import InterpreterError

    with pytest.raises(
        InterpreterError, match=r"weights are not at .*mae\.pth; put them there, or name .*weights\.mae = FILE"
    ):
        Interpreter.from_pretrained(with_mae / "out" / "interpreter")


def test_images_of_another_size_than_is_painted_are_refused_before_any_work(with_mae):
    recipe = opened(with_mae, *MAE, "interpreter.image_size=32")
    fit(recipe)
    with pytest.raises(RecipeError, match=r"reads images of 32x32 pixels, those of paths\.denoiser are 16x16"):
        planned(recipe)


def test_check_tells_each_source_and_its_weights(command, with_mae):
    overrides = [word for setting in MAE for word in ("--set", setting)]
    said = " ".join(command("check", with_mae / "recipe.toml", *overrides).split())
    assert "ok interpreter.features mae, " in said
    (with_mae / "mae.pth").unlink()
    said = command("check", with_mae / "recipe.toml", *overrides, code=2)
    assert "wrong paths.weights.mae" in " ".join(said.split())


def test_every_kind_is_in_the_reference_of_the_recipe():
    text = (Path(__file__).parent.parent / "docs" / "RECIPE.md").read_text()
    assert all(kind in text for kind in KINDS)
    assert json

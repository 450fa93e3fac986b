"""One model paints, another reads: paths.painter and [painter]."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import make_project, make_unet
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline
from making import killed, made, shards

from generate import CheckpointError
from pipelines import DatasetError, Recipe, RecipeError, read_shards
from pipelines.dataset.damage import damages, remove_temporaries
from pipelines.dataset.inventory import take_inventory
from pipelines.driver.carrying import left_behind
from pipelines.stages.check import check
from pipelines.stages.fit import fit
from pipelines.stages.made_with import other_settings
from pipelines.stages.order import lack
from pipelines.stages.sample import provenance, sample_images
from pipelines.units.builder import planned
from pipelines.units.identity import describe, identify
from pipelines.units.images import painted_images
from pipelines.units.models import Models

PAINTED_BY = ('paths.painter="painter"', 'painter.kind="consistency"')


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an interpreter, beside whose denoiser lies a consistency model of the same size."""
    project = make_project(tmp_path_factory.mktemp("painter"))
    fit(Recipe.load(project / "recipe.toml"))
    write_consistency_model(project / "painter")
    return project


@pytest.fixture
def recipe_of(fitted: Path, tmp_path: Path) -> Callable[..., Recipe]:
    def load(*settings: str, folder: str = "made") -> Recipe:
        return Recipe.load(fitted / "recipe.toml", (*PAINTED_BY, f'paths.dataset="{tmp_path / folder}"', *settings))

    return load


def write_consistency_model(folder: Path, size: int = 16) -> None:
    ConsistencyModelPipeline(make_unet(size=size), CMStochasticIterativeScheduler()).save_pretrained(folder)


def test_a_consistency_model_paints_and_the_denoisers_interpreter_labels(recipe_of) -> None:
    recipe = recipe_of("painter.ts=[0, 17]", "generate.portion=0")
    samples = list(read_shards(made(recipe)))
    images = np.stack([sample.image for sample in samples])
    source, batch = painted_images(recipe, "cpu"), recipe.generate.batch
    painted = np.concatenate(list(source.images([sample.seed for sample in samples], 0, batch)))
    assert np.array_equal(images[:18], painted[:18])  # the last unit is shorter, and so are its batches
    labels = Models.of(recipe, "cpu").interpreter.predict(images)
    assert np.array_equal(labels.masks, np.stack([sample.mask for sample in samples]))
    said = {key: samples[0].provenance[key] for key in ("painter", "ts", "levels")}
    assert said == {"painter": "consistency", "ts": [0, 17], "levels": 40}


def test_killed_and_run_again_it_ends_byte_for_byte_as_if_it_had_not_been(
    recipe_of, fitted: Path, tmp_path: Path
) -> None:
    settings = ("painter.ts=[0, 17]", "painter.levels=30")
    at_once, folder = shards(made(recipe_of(*settings, folder="at once"))), tmp_path / "made"
    told = (*PAINTED_BY, *settings, f'paths.dataset="{folder}"')
    killed(fitted / "recipe.toml", *told, folder=folder)
    assert shards(made(recipe_of(*settings))) == at_once
    inventory = take_inventory(folder)
    remove_temporaries(inventory)
    assert damages(take_inventory(folder)) == []


def test_shards_that_are_lost_come_again_with_the_same_bytes(recipe_of) -> None:
    recipe = recipe_of("painter.ts=[0, 17]")
    folder = made(recipe)
    whole = shards(folder)
    for name in ("shard-000001.tar", "shard-000001.json", "shard-000003.json"):
        (folder / name).unlink()
    assert shards(made(recipe)) == whole
    assert damages(take_inventory(folder)) == []


def test_a_recipe_without_a_painter_makes_the_dataset_that_it_always_made(fitted: Path) -> None:
    recipe = Recipe.load(fitted / "recipe.toml")
    dataset = describe(identify(recipe), recipe.generate)
    assert not {"painter", "spacing"} & dataset.recipe.keys()
    with_section = recipe.model_copy(update={"painter": recipe.painter.model_copy(update={"levels": 7})})
    assert describe(identify(with_section), recipe.generate) == dataset


@pytest.mark.parametrize(
    "settings", [(), ("painter.ts=[0, 17]",), ('painter.kind="denoiser"', 'paths.painter="model"')]
)
def test_the_files_tell_of_the_models_what_the_opened_models_do(recipe_of, settings) -> None:
    recipe = recipe_of(*settings)
    assert identify(recipe) == Models.of(recipe, "cpu").identity


def test_what_changes_an_image_changes_the_digest_and_nothing_else_does(recipe_of) -> None:
    def digest(*settings: str) -> str:
        recipe = recipe_of(*settings)
        return describe(identify(recipe), recipe.generate).digest

    plain = digest()
    assert digest("generate.steps=4", 'generate.solver="ddim"') == plain  # a consistency model has its own steps
    others = [
        digest("painter.ts=[0, 17]"),
        digest("painter.levels=30"),
        digest('painter.kind="denoiser"', 'paths.painter="model"'),
        digest('painter.kind="denoiser"', 'paths.painter="model"', "generate.steps=4"),
        digest('painter.kind="denoiser"', 'paths.painter="model"', 'generate.spacing="log_snr"'),
        digest("generate.run_seed=1"),
    ]
    assert len({plain, *others}) == 7


def test_another_painter_is_named_and_its_dataset_not_mixed(recipe_of, fitted: Path, tmp_path: Path) -> None:
    planned(recipe_of())
    with pytest.raises(DatasetError, match=r"painter\.ts was \[0\], is \[0, 17\]"):
        planned(recipe_of("painter.ts=[0, 17]"))
    assert other_settings("generate", recipe_of("painter.ts=[0, 17]")) == "painter.ts was [0], is [0, 17]"
    assert other_settings("generate", recipe_of("generate.steps=7")) == ""
    shutil.copytree(fitted / "painter", tmp_path / "painter")
    config = tmp_path / "painter" / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sigma_max": 40.0}))
    with pytest.raises(DatasetError, match=r"paths\.painter is another model"):
        planned(recipe_of(f'paths.painter="{tmp_path / "painter"}"'))
    plain = Recipe.load(fitted / "recipe.toml", (f'paths.dataset="{tmp_path / "made"}"',))
    assert other_settings("generate", plain).startswith("painter.")
    with pytest.raises(DatasetError, match="holds a dataset of another recipe, model or file"):
        planned(plain)


def test_images_to_annotate_are_the_painters(recipe_of, tmp_path: Path) -> None:
    recipe = recipe_of("painter.ts=[0, 17]", "generate.batch_size=2")
    recipe = recipe.model_copy(update={"paths": recipe.paths.model_copy(update={"out": tmp_path / "out"})})
    assert sample_images(recipe, count=2).fresh
    (image, _) = sorted((tmp_path / "out" / "samples").glob("*.png"))
    said = provenance(image)
    assert said is not None
    assert said["painter"] == {"kind": "consistency", "ts": [0, 17], "levels": 40}
    assert said["generate"] == {"run_seed": 0}
    assert other_settings("sample", recipe) == ""
    changed = recipe.model_copy(update={"painter": recipe.painter.model_copy(update={"ts": [0]})})
    assert other_settings("sample", changed) == "painter.ts was [0, 17], is [0]"


def test_the_painter_travels_to_machines_that_lack_it(recipe_of, fitted: Path) -> None:
    assert set(left_behind(recipe_of('cluster.address="auto"'))) == {"denoiser", "interpreter", "painter"}
    shared = recipe_of('cluster.address="auto"', f'cluster.shared=["{fitted / "painter"}"]')
    assert set(left_behind(shared)) == {"denoiser", "interpreter"}


def test_check_looks_at_the_painter(recipe_of, tmp_path: Path) -> None:
    (found,) = (finding for finding in check(recipe_of()) if finding.subject == "paths.painter")
    assert (found.mark, found.clause) == ("ok", "consistency, images of 16x16 pixels")
    write_consistency_model(tmp_path / "large", size=32)
    recipe = recipe_of(f'paths.painter="{tmp_path / "large"}"')
    (found,) = (finding for finding in check(recipe) if finding.subject == "paths.painter")
    assert (found.mark, "paths.denoiser reads 16x16; name two models of one size" in found.clause) == ("wrong", True)
    with pytest.raises(RecipeError, match=r"paths\.painter paints images of 32x32, paths\.denoiser reads 16x16"):
        identify(recipe)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (('painter.kind="consistency"',), r"painter: paths\.painter is missing; it names the model that paints so"),
        ((*PAINTED_BY, "painter.ts=[17, 0]"), r"ts \[17, 0\] are no noise levels to go through; they ascend from 0"),
        ((*PAINTED_BY, "painter.ts=[0, 40]"), "to at most 39"),
        ((*PAINTED_BY, "painter.ts=[]"), r"painter\.ts"),
        ((*PAINTED_BY, 'painter.kind="gan"'), r"painter\.kind"),
        ((*PAINTED_BY, "painter.flags={colour = 3}"), "--colour is unknown; known are image_size"),
        ((*PAINTED_BY, 'painter.flags="cd_dog"'), "flags 'cd_dog' are no preset; known are cd_bedroom256_lpips"),
        ((*PAINTED_BY, 'painter.flags="--learn_sigma True"'), "a consistency model has no learned variance"),
    ],
)
def test_a_mistaken_recipe_is_refused_in_one_sentence(fitted: Path, settings, message) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.load(fitted / "recipe.toml", settings)


def test_a_model_of_another_kind_is_refused_in_one_sentence(recipe_of, fitted: Path) -> None:
    with pytest.raises(CheckpointError, match="is a consistency model, which only paints; name it in paths"):
        painted_images(recipe_of('painter.kind="denoiser"'), "cpu")
    with pytest.raises(CheckpointError, match="has a DDPMScheduler; a consistency model's CMStochasticIterativeSch"):
        identify(recipe_of('paths.painter="model"'))
    with pytest.raises(CheckpointError, match=r"is a diffusers folder; EDM's networks are opened from an edm_\*\.pt"):
        identify(recipe_of('painter.kind="edm"'))
    with pytest.raises(
        RecipeError, match=r"generate\.spacing: a painter of kind consistency has its own; leave it out"
    ):
        identify(recipe_of('generate.spacing="log_snr"'))
    missing = recipe_of('paths.painter="nowhere"')
    found = lack("generate", missing)
    assert found is not None
    assert found.clause.endswith("nowhere, is not there; a model that paints is needed")

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from label import FITTINGS
from pipelines import Recipe, RecipeError

MINIMAL = """
name = "test"
[paths]
out = "out"
denoiser = "{recipe}/model"
annotated = "annotated"
[generate]
samples = 25
unit_size = 10
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "recipe.toml").write_text(MINIMAL)
    return tmp_path / "recipe.toml"


def refused(path, match, *overrides):
    with pytest.raises(RecipeError, match=match):
        Recipe.load(path, overrides)


def test_what_a_recipe_leaves_out_is_as_published(path):
    recipe = Recipe.load(path)
    assert recipe.interpreter.steps == [50, 150, 250]
    assert recipe.interpreter.blocks == [5, 6, 7, 8, 12]
    assert recipe.interpreter.fitting.min_class_pixels == 20
    network = recipe.train.network
    assert (network.encoder, network.output_stride, recipe.train.batch_size) == ("resnet101", 8, 8)


def test_the_recipes_own_folder_stands_in_for_its_placeholder(path):
    assert Recipe.load(path).paths.denoiser == path.parent / "model"
    assert Recipe.load(path).paths.annotated == Path("annotated")


def test_overrides_replace_values_of_any_type(path):
    recipe = Recipe.load(
        path, ("generate.steps=7", "generate.solver=ddim", "train.baseline=true", "train.seeds=[1, 2]")
    )
    assert (recipe.generate.steps, recipe.generate.solver) == (7, "ddim")
    assert (recipe.train.baseline, recipe.train.seeds) == (True, [1, 2])


def test_units_are_fixed_ranges_of_seeds(path):
    settings = Recipe.load(path).generate
    assert [settings.seeds(unit) for unit in settings.units] == [range(10), range(10, 20), range(20, 25)]


def test_all_mistakes_are_told_at_once(path):
    path.write_text(
        MINIMAL.replace("samples", "sample").replace("out = ", "oud = ") + 'steps = "many"\nportion = 1.5\n'
    )
    refused(path, r"paths\.out.*generate\.steps.*not 'many'.*generate\.portion.*not 1\.5.*generate\.sample: unknown")


def test_an_unknown_key_is_answered_with_the_known_ones(path):
    refused(path, r"generate\.step: unknown key; known are samples, unit_size", "generate.step=3")


def test_an_unknown_section_is_answered_with_the_known_ones(path):
    refused(path, r"generation: unknown key; known are name, paths", "generation.steps=3")


@pytest.mark.parametrize("override", ["generate.steps=0", "generate.steps=1001", "interpreter.members=1"])
def test_a_value_out_of_range_is_refused(path, override):
    refused(path, override.partition("=")[0], override)


def test_mistakes_in_settings_of_other_rooms_are_told_by_the_keys_of_the_file(path):
    refused(
        path,
        r"interpreter\.members: it .*train\.encoder_depth: it should be 3, 4 or 5, not 2.*train\.steps: it .*"
        r"train\.step: unknown key; known are variant, encoder, .*steps.*epochs",
        "train.encoder_depth=2",
        "train.steps=0",
        "train.step=5",
        "interpreter.members=1",
    )


def test_an_override_without_a_value_is_refused(path):
    refused(path, "not of the form", "generate.steps")


def test_a_file_that_is_no_toml_is_refused(path):
    path.write_text("name = ")
    refused(path, "is not TOML")


def test_a_recipe_that_is_not_there_is_refused(path):
    refused(path.with_name("other.toml"), "is no file")


def test_a_network_whose_groups_do_not_divide_its_channels_is_refused(path):
    refused(path, "norm_groups 8 must divide", "train_ddpm.channels=[12, 24]")


def test_a_named_setting_gives_what_the_recipe_does_not(path):
    fast = Recipe.load(path, ("interpreter.setting=fast", "interpreter.max_batches=7")).interpreter.fitting
    assert fast == replace(FITTINGS["fast"], max_batches=7)
    assert Recipe.load(path).interpreter.fitting == FITTINGS["published"]


@pytest.mark.parametrize("setting", ["quick", "[1]"])
def test_an_unknown_setting_is_refused(path, setting):
    refused(path, r"interpreter\.setting: it should be 'published' or 'fast'", f"interpreter.setting={setting}")


@pytest.mark.parametrize("size", ["generate.samples=309", "generate.samples=400"])  # 400: 350 and a rest of 50
def test_a_published_filter_that_would_keep_nothing_of_a_unit_is_refused(path, size):
    published = ("generate.filter=published", "generate.unit_size=350")
    refused(
        path,
        r'filter "published" keeps nothing of a unit .* of the smallest unit, .*: raise unit_size',
        *published,
        size,
    )
    assert Recipe.load(path, (*published, "generate.samples=700")).generate.filter == "published"


def test_the_demos_recipe_is_valid():
    Recipe.load(Path(str(files("pipelines").joinpath("recipes/demo.toml"))))


def test_flags_that_cannot_be_honoured_are_the_recipes_mistake(path):
    refused(path, "denoiser: flags: class_cond True needs a class", 'denoiser.flags="--class_cond True"')


def test_classes_without_names_are_refused(path):
    refused(path, "classes: 1 classes are given", 'classes.names=["alone"]')

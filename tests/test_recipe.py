from dataclasses import replace
from pathlib import Path

import pytest

from label import FITTINGS
from pipelines import Recipe, RecipeError
from pipelines.annotated import annotated_few

MINIMAL = """
name = "test"
[paths]
out = "out"
denoiser = "model"
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


def test_relative_paths_start_at_the_recipes_folder_wherever_the_command_is_run(path, tmp_path_factory, monkeypatch):
    there = ('paths.held_out="../held out"', 'paths.dataset="s3://bucket/faces"')
    before = Recipe.load(path, there)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert Recipe.load(path, there) == before
    paths, folder = before.paths, path.parent
    assert (paths.out, paths.annotated, paths.held_out) == (
        folder / "out",
        folder / "annotated",
        folder.parent / "held out",
    )
    assert paths.dataset == "s3://bucket/faces"


def test_a_hub_id_is_a_path_where_such_a_folder_lies_beside_the_recipe_or_train_ddpm_writes_it(path):
    hub, beside = Path("google/ddpm-cat-256"), path.parent / "google" / "ddpm-cat-256"
    named = ('paths.denoiser="google/ddpm-cat-256"',)
    assert Recipe.load(path, named).paths.denoiser == hub
    assert Recipe.load(path, (*named, 'paths.unlabelled="cats"')).paths.denoiser == beside
    beside.mkdir(parents=True)
    assert Recipe.load(path, named).paths.denoiser == beside
    assert Recipe.load(path, ('paths.denoiser="models/cats.pt"',)).paths.denoiser == path.parent / "models" / "cats.pt"


def test_weights_are_a_file_beside_the_recipe_or_a_name(path):
    (path.parent / "resnet.pth").touch()
    weights = [
        Recipe.load(path, (f"train.encoder_weights={name}",)).train.network.encoder_weights
        for name in ("resnet.pth", "imagenet")
    ]
    assert weights == [str(path.parent / "resnet.pth"), "imagenet"]


def test_folders_that_all_machines_share_start_at_the_recipe_too(path):
    shared = Recipe.load(path, ('cluster.shared=["data", "/mnt", "s3://bucket"]',)).cluster.shared
    assert shared == [str(path.parent / "data"), "/mnt", "s3://bucket"]


def test_a_shipped_recipe_is_called_by_its_name_and_works_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Recipe.load("horse_21").paths.out == tmp_path / "runs" / "datasetddpm" / "horse_21"
    assert Recipe.load("ddpm_seg/horse_21").paths.annotated == tmp_path / "datasets" / "horse_21" / "real" / "train"
    demo = Recipe.load("demo").paths
    assert demo.out == tmp_path / "runs" / "demo"
    assert demo.annotated
    assert (demo.annotated / "scheme.toml").is_file()


def test_an_unknown_name_is_answered_with_the_shipped_recipes(path):
    refused(
        path.with_name("horse"),
        r"is no file; .* shipped one: .*cat_15, ddpm_seg/ade_bedroom_30, .*demo, ffhq_34, horse_21, words$",
    )


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


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("generate.step", "generate.steps"),
        ("generate.sample", "generate.samples"),
        ("sample", "generate.samples"),
        ("updates", "train_ddpm.updates"),
        ("train.updates", "train_ddpm.updates"),
        ("unlabeled", "paths.unlabelled"),
        ("paths.unlabeled", "paths.unlabelled"),
        ("generation.steps", "generate"),
    ],
)
def test_a_mistyped_key_is_answered_with_the_one_that_is_meant(path, typed, meant):
    refused(path, rf": unknown key; is {meant} meant\?$", f"{typed}=3")


def test_a_key_that_is_like_no_other_is_answered_with_the_known_ones(path):
    refused(path, r"generate\.brightness: unknown key; known are samples, unit_size", "generate.brightness=3")


def test_annotated_images_are_asked_for_by_those_who_read_them(path):
    path.write_text(MINIMAL.replace('annotated = "annotated"\n', ""))
    recipe = Recipe.load(path)
    with pytest.raises(RecipeError, match=r"paths\.annotated is missing; it names the folder of annotated images"):
        annotated_few(recipe, (16, 16))


@pytest.mark.parametrize("override", ["generate.steps=0", "generate.steps=1001", "interpreter.members=1"])
def test_a_value_out_of_range_is_refused(path, override):
    refused(path, override.partition("=")[0], override)


def test_mistakes_in_settings_of_other_rooms_are_told_by_the_keys_of_the_file(path):
    refused(
        path,
        r"interpreter\.members: it .*train\.encoder_depth: it should be 3, 4 or 5, not 2.*train\.steps: it .*"
        r"train\.step: unknown key; is train\.steps meant",
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
    published = ("generate.filter=published", "generate.portion=0.1", "generate.unit_size=350")
    refused(
        path,
        r"keeps nothing of a unit .* of the smallest unit, .*: raise portion to 0\.\d+, or take units of 311 with ",
        *published,
        size,
    )
    assert Recipe.load(path, (*published, "generate.samples=700")).generate.filter == "published"


def test_the_demos_recipe_is_valid():
    Recipe.load("demo")


def test_flags_that_cannot_be_honoured_are_the_recipes_mistake(path):
    refused(path, "denoiser: flags: class_cond True needs a class", 'denoiser.flags="--class_cond True"')


def test_classes_without_names_are_refused(path):
    refused(path, "classes: 1 classes are given", 'classes.names=["alone"]')

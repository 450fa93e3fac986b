"""What a study's rows say of mixtures and filters, and that such cells are measured, resumed, and paint once."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import make_project

from pipelines import Recipe
from pipelines.record import Record
from pipelines.study.cells import missing, result
from pipelines.study.grid import Row, grid
from pipelines.study.measuring import measure

STUDY = (
    "study.seeds=[0, 1, 2]",
    "study.datasets=[0, 5]",
    'study.parts=["mixtures", "filters"]',
    "study.portions=[0.0, 0.2]",
    "study.ignored=[0.1]",
)
ALL = ("synthetic", "photographs", "annotated")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return Recipe.load(make_project(tmp_path_factory.mktemp("mixing")) / "recipe.toml", STUDY)


def row(recipe: Recipe, label: str) -> Row:
    return next(row for row in grid(recipe) if row.label == label)


def measured(recipe: Recipe, label: str, place: int = 0) -> dict[str, Any]:
    kept = measure(recipe, row(recipe, label).cells[place])
    assert kept is not None, "no other process measures here"
    return kept


def shards(recipe: Recipe) -> dict[Path, int]:
    work = recipe.paths.out / "study" / "work"
    return {path: path.stat().st_mtime_ns for path in work.rglob("shard-*.tar")}


def test_every_mixture_stands_with_and_without_the_annotated_few(recipe: Recipe) -> None:
    labels = [row.label for row in grid(recipe) if row.part == "mixtures"]
    assert labels == [
        "annotated",
        "annotated, strong augmentation",
        "synthetic",
        "synthetic + annotated",
        "photographs",
        "photographs + annotated",
        "synthetic + photographs",
        "synthetic + photographs + annotated",
        "photographs, then annotated",
    ]


def test_without_photographs_there_are_no_rows_of_them(recipe: Recipe) -> None:
    without = recipe.model_copy(update={"paths": recipe.paths.model_copy(update={"unlabelled": None})})
    assert not [row.label for row in grid(without) if "photographs" in row.label]


def test_every_kind_of_filter_is_measured_with_every_portion_above_nothing(recipe: Recipe) -> None:
    assert [row.label for row in grid(recipe) if row.part == "filters"] == [
        "all labels",
        "most_certain, 0.2 dropped",
        "balanced, 0.2 dropped",
        "class_wise, 0.2 dropped",
        "pixels above 0.1 nats ignored",
    ]


def test_rows_of_painted_images_have_every_seed_with_every_dataset_and_others_every_seed(recipe: Recipe) -> None:
    for row in grid(recipe):
        is_painted = row.part == "filters" or "synthetic" in row.label
        assert [cell.seed for cell in row.cells] == ([0, 0, 1, 1, 2, 2] if is_painted else [0, 1, 2])
        run_seeds = [cell.changes.get("generate", {}).get("run_seed", 0) for cell in row.cells]
        assert run_seeds == ([0, 5] * 3 if is_painted else [0] * 3)
    assert [cell.seed for cell in missing(recipe)] == sorted(cell.seed for cell in missing(recipe))
    names = [cell.name for cell in missing(recipe)]
    assert len(names) == len(set(names)) == len({cell.name for row in grid(recipe) for cell in row.cells})


def test_a_mixture_learns_from_all_that_it_names_and_is_kept(recipe: Recipe) -> None:
    cell = row(recipe, " + ".join(ALL)).cells[0]
    assert cell.name == "mixed-synthetic+photographs+annotated-solver=dpmsolver++-steps=3-seed0"
    said = measured(recipe, " + ".join(ALL))
    assert result(recipe, cell) == json.loads(json.dumps(said))
    assert cell not in missing(recipe)
    (network,) = (recipe.paths.out / "study" / "work").glob("*/deeplab/mixed-seed0")
    mix = Record.read(network).inputs["train"]["mix"]
    assert [each["source"] for each in mix] == ["synthetic", "photographed", "annotated"]
    assert [each["share"] for each in mix] == [3, 3, 2]  # the annotated are a quarter
    assert [each["augmentation"] for each in mix] == [None, None, "strong_mirrored"]
    assert len(list(network.parent.parent.glob("photographed/shard-*.tar"))) == 1  # of four images


def test_another_mixture_of_the_same_datasets_paints_nothing_again(recipe: Recipe) -> None:
    measured(recipe, "synthetic + photographs")
    before = shards(recipe)
    measured(recipe, "synthetic + annotated")
    measured(recipe, "photographs")
    assert shards(recipe) == before


def test_a_network_of_the_annotated_few_can_begin_with_what_another_learned_from_photographs(recipe: Recipe) -> None:
    measured(recipe, "photographs, then annotated")
    (networks,) = (recipe.paths.out / "study" / "work").glob("*/deeplab")
    before, then = (Record.read(networks / f"{source}-seed0") for source in ("mixed", "annotated"))
    assert [each["source"] for each in before.inputs["train"]["mix"]] == ["photographed"]
    assert before.files is not None
    assert then.inputs["paths"]["encoder_weights"] == before.files["model.safetensors"]
    assert then.inputs["train"]["augmentation"] == "strong_mirrored"


def test_the_recipes_own_filter_is_the_measurement_that_other_tables_show(recipe: Recipe) -> None:
    assert row(recipe, "most_certain, 0.2 dropped").cells == row(recipe, "synthetic").cells


def test_another_dataset_of_a_row_lies_beside_the_first(recipe: Recipe) -> None:
    before = shards(recipe)
    measured(recipe, "synthetic + annotated", place=1)
    assert {path.parent.parent.name for path in shards(recipe).keys() - before.keys()} == {
        "solver=dpmsolver++-steps=3-run_seed=5"
    }


def test_filters_share_their_candidates_and_drop_as_their_portions_say(recipe: Recipe) -> None:
    everything = measured(recipe, "all labels")
    before = shards(recipe)
    for label in ("class_wise, 0.2 dropped", "balanced, 0.2 dropped", "pixels above 0.1 nats ignored"):
        assert measured(recipe, label)["seconds_an_image"] == everything["seconds_an_image"], label
    assert shards(recipe) == before

"""A study of a project of tiny size: stopped after two cells, gone on with, and begun once more."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import content, copy_of, make_project
from forked import Forked

from pipelines import Recipe
from pipelines.folders import study_cell
from pipelines.study.cells import missing
from pipelines.study.grid import grid
from pipelines.study.measuring import measure

STUDY = """
[study]
seeds = [0]
datasets = [0]
parts = ["methods", "solvers", "amounts", "features"]
solvers = { "dpmsolver++" = [3] }
samples = []
annotated = []
feature_steps = [50]
feature_blocks = [3]
"""
SYNTHETIC = "synthetic-solver=dpmsolver++-steps=3-seed0"
CELLS = [
    "interpreter-seed0",
    SYNTHETIC,
    "supervised-seed0",
    "supervised-augmentation=strong_mirrored-seed0",
    "pixels-seed0",
    "untrained-seed0",
    "interpreter-steps=_50_-blocks=_3_-seed0",
]
Command = Callable[..., str]


@dataclass(frozen=True)
class Studied:
    project: Path
    said: list[str]  # by each of the three calls
    written: list[dict[Path, int]]  # after each of them: files, and when they were written
    pages: list[str]


@pytest.fixture(scope="module")
def studied(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Studied:
    project = make_project(tmp_path_factory.mktemp("study"))
    (project / "recipe.toml").write_text((project / "recipe.toml").read_text() + STUDY)
    page, found = project / "RESULTS.md", Studied(project, [], [], [])
    for most in (["--cells", "2"], [], []):
        found.said.append(command("study", project / "recipe.toml", "--page", page, *most))
        found.written.append({path: path.stat().st_mtime_ns for path in (project / "out").rglob("*") if path.is_file()})
        found.pages.append(page.read_text())
    return found


@pytest.fixture
def copy(studied: Studied, tmp_path: Path) -> Path:
    return copy_of(studied.project, tmp_path / "copy")


def names(written: dict[Path, int]) -> set[str]:
    """Cells that are there."""
    return {path.stem for path in written if path.parent.name == "cells"}


def cell_of(project: Path, name: str) -> dict[str, Any]:
    return json.loads((project / "out" / "study" / "cells" / f"{name}.json").read_text())


def test_a_study_that_was_stopped_goes_on_with_the_cells_that_are_left(studied: Studied) -> None:
    first, second, _ = studied.said
    assert "study: 7 cells are not measured yet" in first
    assert "study: 5 cells left" in first
    assert names(studied.written[0]) == set(CELLS[:2])
    assert "study: 5 cells are not measured yet" in second
    assert [line.removeprefix("study: ") for line in second.splitlines() if "-seed0" in line] == CELLS[2:]
    assert names(studied.written[1]) == set(CELLS)


def test_a_study_that_is_whole_makes_nothing_again(studied: Studied) -> None:
    assert "study: 0 cells are not measured yet" in studied.said[2]
    assert studied.written[2] == studied.written[1]
    assert studied.pages[2] == studied.pages[1]


def test_a_cell_that_was_not_run_stays_empty_on_the_page(studied: Studied) -> None:
    stopped, whole, _ = studied.pages
    assert "| DeepLab on the annotated images alone |  |  |  |" in stopped
    assert "| 3 |  |" in stopped
    assert "|  |" not in whole.replace("|  | mIoU", "")


def test_a_cell_says_what_the_stages_of_the_same_recipe_say(studied: Studied, finished: Path, command: Command) -> None:
    command("evaluate", finished / "recipe.toml")
    scores = json.loads((finished / "out" / "scores" / "scores.json").read_text())
    of_stage = {"interpreter-seed0": "interpreter", SYNTHETIC: "synthetic", "supervised-seed0": "annotated"}
    for cell, source in of_stage.items():
        (expected,) = scores[source]
        for key in ("mean_iou", "published_mean_iou", "pixel_accuracy", "iou"):
            assert cell_of(studied.project, cell)[key] == expected[key], (cell, key)


def test_a_cell_with_a_dataset_says_its_times_and_how_its_images_compare_with_the_real_ones(studied: Studied) -> None:
    cell = cell_of(studied.project, SYNTHETIC)
    assert set(cell["seconds_an_image"]) == {"sample", "label", "encode"}
    assert 0 <= cell["precision"] <= 1
    assert 0 <= cell["recall"] <= 1
    assert cell["compared"] == [8, 8]


def test_a_measurement_that_several_tables_show_is_one_cell(studied: Studied) -> None:
    recipe = Recipe.load(studied.project / "recipe.toml")
    rows = {row.label for row in grid(recipe) if row.cells[0].name == SYNTHETIC}
    own = f"candidates: {recipe.generate.samples}, annotated: all"
    assert rows == {"DatasetDDPM: DeepLab on synthetic images", "dpmsolver++, 3", own}


def test_every_cell_of_the_first_seed_comes_before_any_of_the_second(project: Path) -> None:
    seeds = [cell.seed for cell in missing(Recipe.load(project / "recipe.toml", ("study.seeds=[3, 1]",)))]
    assert seeds == [3] * (len(seeds) // 2) + [1] * (len(seeds) // 2)


def test_with_other_settings_nothing_is_measured_yet_with_other_seeds_only_theirs(studied: Studied) -> None:
    recipe = studied.project / "recipe.toml"
    assert len(missing(Recipe.load(recipe, ("interpreter.members=5",)))) == len(CELLS)
    assert {cell.seed for cell in missing(Recipe.load(recipe, ("study.seeds=[0, 1]",)))} == {1}
    assert missing(Recipe.load(recipe, ('paths.unlabelled="elsewhere"', "cluster.actors=1"))) == []


def test_a_measurement_is_made_anew_where_a_setting_that_it_reads_is_another(studied: Studied) -> None:
    def kinds(key: str) -> set[str]:
        return {cell.kind for cell in missing(Recipe.load(studied.project / "recipe.toml", (key,)))}

    assert kinds("train.steps=5") == {"synthetic", "supervised"}
    assert kinds("generate.samples=9") == {"synthetic"}


def test_a_dataset_that_was_half_made_is_finished_and_the_cell_comes_out_the_same(copy: Path) -> None:
    recipe, before = Recipe.load(copy / "recipe.toml"), cell_of(copy, SYNTHETIC)
    study_cell(recipe, SYNTHETIC).unlink()
    (dataset,) = (copy / "out" / "study" / "work").glob("solver=dpmsolver*/dataset")
    (dataset / "shard-000002.json").unlink()
    stamps = {path.name: path.stat().st_mtime_ns for path in dataset.glob("shard-*.tar")}
    (cell,) = missing(recipe)
    measure(recipe, cell)
    made = {path.name for path in dataset.glob("shard-*.tar") if path.stat().st_mtime_ns != stamps[path.name]}
    assert made == {"shard-000002.tar"}
    after = cell_of(copy, SYNTHETIC)
    for key in ("mean_iou", "iou", "precision", "recall", "digest"):
        assert after[key] == before[key]


def test_two_processes_share_the_cells_and_measure_what_one_does(studied: Studied, tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (project / "recipe.toml").write_text((project / "recipe.toml").read_text() + STUDY)
    several = [Forked("study", project / "recipe.toml", "--page", project / f"{name}.md") for name in "ab"]
    assert [process.wait() for process in several] == [0, 0], [process.said for process in several]
    lines = [process.said.splitlines() for process in several]
    shares = [[line.removeprefix("study: ") for line in each if line.endswith("-seed0")] for each in lines]
    assert sorted(shares[0] + shares[1]) == sorted(CELLS)
    assert all(shares)
    for name in CELLS:
        assert cell_of(project, name)["iou"] == cell_of(studied.project, name)["iou"]
    assert (project / "a.md").read_text() == (project / "b.md").read_text()


def test_all_seeds_of_a_row_share_one_dataset(copy: Path) -> None:
    recipe = Recipe.load(copy / "recipe.toml", ("study.seeds=[0, 1]",))
    (dataset,) = (copy / "out" / "study" / "work").glob("solver=dpmsolver*/dataset")
    before = {path: path.stat().st_mtime_ns for path in dataset.iterdir()}
    second = next(cell for cell in missing(recipe) if cell.name == SYNTHETIC.replace("seed0", "seed1"))
    measure(recipe, second)
    assert {path: path.stat().st_mtime_ns for path in dataset.iterdir()} == before


def refused(command: Command, project: Path, *arguments: str | Path) -> str:
    """What a study says that ends with exit code 2, having written nothing."""
    before = content(project)
    said = command("study", project / "recipe.toml", "--cells", "1", *arguments, code=2)
    assert content(project) == before
    (sentence,) = said.splitlines()[-1:]
    return sentence


def test_a_study_without_held_out_images_is_refused_before_any_work(project: Path, command: Command) -> None:
    recipe = project / "recipe.toml"
    recipe.write_text("".join(line for line in recipe.read_text().splitlines(True) if not line.startswith("held_out")))
    sentence = refused(command, project, "--page", project / "RESULTS.md")
    assert sentence == "datasetddpm: paths.held_out is missing; it names the annotated images to measure on"


def test_a_page_in_a_folder_that_is_not_there_is_refused_before_any_work(project: Path, command: Command) -> None:
    sentence = refused(command, project, "--page", project / "docs" / "RESULTS.md")
    assert f"{project / 'docs'} is no folder" in sentence


def test_a_page_that_is_another_document_is_not_overwritten(project: Path, command: Command) -> None:
    (project / "README.md").write_text("# Squares\n")
    sentence = refused(command, project, "--page", project / "README.md")
    assert f"{project / 'README.md'} is no page of a study" in sentence


def test_fewer_samples_than_can_be_compared_are_said_so_before_the_training(project: Path, command: Command) -> None:
    few = ['study.parts=["amounts"]', "generate.samples=3"]
    arguments = [argument for override in few for argument in ("--set", override)]
    said = command("study", project / "recipe.toml", "--page", project / "RESULTS.md", *arguments, code=2)
    assert "8 real images and 3 samples came; at least 4 of each are needed" in said
    assert not list((project / "out").rglob("model.safetensors"))

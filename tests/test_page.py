"""The page says what the cells hold: numbers that are made up here, written as a study writes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import Recipe
from pipelines.errors import RecipeError
from pipelines.study.cells import keep
from pipelines.study.grid import Cell, Row, grid
from pipelines.study.page import write_page

STUDY = (
    "study.seeds=[0, 1, 2]",
    "study.datasets=[0]",
    "study.solvers={ddim = [5, 10], ddpm = [250]}",
    "study.portions=[0.0, 0.5]",
    "study.samples=[40]",
    "study.annotated=[]",
    "study.feature_steps=[50, 150]",
    "study.feature_blocks=[1, 3]",
)
TITLES = {
    "methods": "Methods on the same held-out images",
    "mixtures": "What a network learns from",
    "filters": "Which labels are believed",
    "solvers": "Solver and steps",
    "amounts": "Number of samples, number of annotated images",
    "features": "The interpreter by single block and single step",
}


@pytest.fixture
def recipe(project: Path) -> Recipe:
    return Recipe.load(project / "recipe.toml", STUDY)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    return tmp_path / "docs" / "RESULTS.md"


def numbers(cell: Cell) -> dict[str, Any]:
    """Different ones for each cell."""
    rng = np.random.default_rng(list(cell.name.encode()))
    mean_iou, published, accuracy = rng.random(3).tolist()
    found = {"mean_iou": mean_iou, "published_mean_iou": published, "pixel_accuracy": accuracy}
    if cell.kind == "synthetic":
        sample, label, precision, recall = rng.random(4).tolist()
        found |= {"seconds_an_image": {"sample": sample, "label": label}, "precision": precision, "recall": recall}
    return found


def fill(recipe: Recipe, rows: list[Row], seeds: int = 3) -> None:
    for row in rows:
        for cell in row.cells[:seeds]:
            keep(recipe, cell, numbers(cell), 1.0)


def only(recipe: Recipe, *parts: str) -> Recipe:
    """The same study of fewer parts."""
    return recipe.model_copy(update={"study": recipe.study.model_copy(update={"parts": list(parts)})})


def table(page: Path, part: str) -> dict[str, list[str]]:
    """The cells of each row below the part's title, by the row's label; its head has the label ""."""
    text = page.read_text().partition(f"## {TITLES[part]}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert set(rows[1]) == {"---"}
    assert {len(row) for row in rows} == {len(rows[0])}
    return {row[0]: row[1:] for row in (rows[0], *rows[2:])}


def of(recipe: Recipe, part: str) -> list[Row]:
    return [row for row in grid(recipe) if row.part == part]


def mean_and_deviation(values: list[float]) -> str:
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.3f} ± {deviation:.3f}"


def test_rows_say_mean_and_deviation_of_their_cells(recipe: Recipe, page: Path) -> None:
    recipe = only(recipe, "methods", "mixtures", "filters", "amounts")
    fill(recipe, grid(recipe))
    write_page(recipe, page)
    for part in ("methods", "mixtures", "filters", "amounts"):
        found = table(page, part)
        assert list(found)[1:] == [row.label for row in of(recipe, part)]
        for row in of(recipe, part):
            ious, published = ([numbers(c)[key] for c in row.cells] for key in ("mean_iou", "published_mean_iou"))
            assert found[row.label][:3] == [mean_and_deviation(ious), f"({mean_and_deviation(published)})", "3"]


def test_rows_with_a_dataset_say_its_seconds_precision_and_recall(recipe: Recipe, page: Path) -> None:
    recipe = only(recipe, "solvers")
    fill(recipe, grid(recipe))
    write_page(recipe, page)
    found = table(page, "solvers")
    assert found[""][3:] == ["seconds an image", "of these sampling", "precision", "recall"]
    for row in grid(recipe):
        cell = numbers(row.cells[0])
        seconds = cell["seconds_an_image"]
        expected = (seconds["sample"] + seconds["label"], seconds["sample"], cell["precision"], cell["recall"])
        assert found[row.label][3:] == [f"{value:.2f}" for value in expected]


def test_a_block_and_a_step_meet_in_the_mean_of_their_cells(recipe: Recipe, page: Path) -> None:
    recipe = only(recipe, "features")
    rows = grid(recipe)
    fill(recipe, rows[:3])
    write_page(recipe, page)
    means = [f"{np.mean([numbers(cell)['mean_iou'] for cell in row.cells]):.3f}" for row in rows[:3]]
    assert table(page, "features") == {"block": ["step 50", "step 150"], "1": means[:2], "3": [means[2], ""]}


def test_rows_that_were_not_run_stay_empty(recipe: Recipe, page: Path) -> None:
    fill(recipe, of(recipe, "solvers")[1:2])
    write_page(recipe, page)
    found = table(page, "solvers")
    assert all(found["ddim, 10"])
    assert found["ddim, 5"] == found["ddpm, 250"] == [""] * 7
    assert all(not any(cells) for label, cells in table(page, "methods").items() if label)


def test_a_row_with_one_seed_of_three_has_no_deviation_and_says_so(recipe: Recipe, page: Path) -> None:
    fill(recipe, of(recipe, "methods")[:1], seeds=1)
    write_page(recipe, page)
    (first, *_) = of(recipe, "methods")
    cell = numbers(first.cells[0])
    expected = [f"{cell['mean_iou']:.3f}", f"({cell['published_mean_iou']:.3f})", "1"]
    assert table(page, "methods")[first.label] == expected


def test_a_cell_of_other_settings_is_not_shown(recipe: Recipe, page: Path) -> None:
    recipe = only(recipe, "methods")
    fill(recipe, grid(recipe))
    write_page(recipe.model_copy(update={"interpreter": recipe.interpreter.changed(members=9)}), page)
    assert "Nothing is measured yet." in page.read_text()


def test_only_parts_with_a_measured_cell_have_a_figure(recipe: Recipe, page: Path) -> None:
    write_page(recipe, page)
    assert [path.name for path in page.parent.iterdir()] == ["RESULTS.md"]
    fill(recipe, of(recipe, "solvers") + of(recipe, "features"))
    write_page(recipe, page)
    assert sorted(path.name for path in page.parent.glob("*.png")) == ["study-features.png", "study-solvers.png"]
    assert page.read_text().count("](study-") == 2


def test_the_head_says_when_and_on_what_the_cells_were_measured(recipe: Recipe, page: Path) -> None:
    rows = of(recipe, "methods")[:1]
    fill(recipe, rows)
    stored = keep(recipe, rows[0].cells[0], numbers(rows[0].cells[0]), 1.0)
    write_page(recipe, page)
    head = page.read_text().partition("\n## ")[0]
    assert f"`datasetddpm study`, {stored['date']}, on {stored['machine']}; commits {stored['commit']}." in head
    assert "22 candidates, dpmsolver++ with 3 steps, 20% dropped by the filter, DeepLabV3+ " in head
    assert "(mobilenet_v2, scale 1) trained for 4 steps of 4 by cross_entropy." in head


def test_what_people_wrote_below_the_mark_is_kept(recipe: Recipe, page: Path) -> None:
    recipe = only(recipe, "methods")
    write_page(recipe, page)
    page.write_text(page.read_text() + "\n## What it means\n\nLittle so far.\n")
    fill(recipe, grid(recipe))
    write_page(recipe, page)
    assert page.read_text().endswith("<!-- end -->\n\n## What it means\n\nLittle so far.\n")
    assert page.read_text().count("<!-- end -->") == 1


def test_a_page_that_is_another_document_is_left_alone(recipe: Recipe, page: Path) -> None:
    page.write_text("# Squares\n")
    with pytest.raises(RecipeError, match=r"RESULTS.md is no page of a study, it has no <!-- end -->; name another"):
        write_page(recipe, page)
    assert page.read_text() == "# Squares\n"

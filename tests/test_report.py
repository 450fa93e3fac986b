"""The page of a dataset, read as a browser reads it."""

import io
import json
from base64 import b64decode
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import copy_of
from PIL import Image

from pipelines import DatasetError, Recipe, read_shards
from pipelines.dataset.reports import reports
from pipelines.folders import dataset_folder, report_page, scores_folder
from pipelines.stages.evaluate import evaluate
from pipelines.stages.report import write_page
from pipelines.stages.scores import over_runs, stored_scores

SOURCES = ("interpreter", "synthetic", "annotated")
NAME = 'Squares <b> & "dots"'


@dataclass
class Page(HTMLParser):
    """Texts in their order, pictures, and bars of the histogram."""

    texts: list[str] = field(default_factory=list)
    pictures: list[Image.Image] = field(default_factory=list)
    figures: list[Image.Image] = field(default_factory=list)
    pairs: list[Image.Image] = field(default_factory=list)
    bars: list[tuple[float, str]] = field(default_factory=list)  # height, colour

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag == "img":
            content = values["src"].removeprefix("data:image/png;base64,")
            places = {"figure": self.figures, "pair": self.pairs}
            place = places.get(values.get("class", ""), self.pictures)
            place.append(Image.open(io.BytesIO(b64decode(content, validate=True))))
        if tag == "rect":
            self.bars.append((float(values["height"]), values["fill"]))

    def handle_data(self, data: str) -> None:
        if text := " ".join(data.split()):
            self.texts.append(text)


@pytest.fixture(scope="module")
def recipe(finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Of a project whose page is written."""
    project = copy_of(finished_once, tmp_path_factory.mktemp("page") / "project")
    recipe = Recipe.load(project / "recipe.toml").model_copy(update={"name": NAME})
    evaluate(recipe)
    assert write_page(recipe).fresh
    return recipe


@pytest.fixture(scope="module")
def page(recipe: Recipe) -> Page:
    page = Page()
    page.feed(report_page(recipe).read_text("utf-8"))
    return page


def after(page: Page, text: str) -> str:
    return page.texts[page.texts.index(text) + 1]


def test_names_are_shown_as_they_are(recipe: Recipe, page: Page) -> None:
    assert page.texts.count(NAME) == 2  # title and head
    assert "<b>" not in report_page(recipe).read_text("utf-8")


def test_every_source_stands_with_its_score(recipe: Recipe, page: Page) -> None:
    names = {
        "interpreter": "interpreter on the images themselves",
        "synthetic": "DeepLabV3+ on 19 synthetic images",
        "annotated": "DeepLabV3+ on the annotated images alone",
    }
    scores = stored_scores(recipe)
    assert {name: after(page, name) for name in names.values()} == {
        names[source]: over_runs([run["mean_iou"] for run in runs]) for source, runs in scores.items()
    }


def test_every_class_stands_with_its_iou_by_each_source(recipe: Recipe, page: Page) -> None:
    scores = stored_scores(recipe)
    start = page.texts.index("IoU")
    assert page.texts[start + 1 : start + 4] == list(scores)
    for i, name in enumerate(("ground", "square", "dot")):
        row = page.texts[start + 4 * (i + 1) : start + 4 * (i + 2)]
        assert row == [name, *(over_runs([run["iou"][i] for run in runs]) for runs in scores.values())]


def test_the_figures_of_the_evaluation_stand_on_the_page(recipe: Recipe, page: Page) -> None:
    drawn = [scores_folder(recipe) / f"{what}-{source}.png" for what in ("images", "confusion") for source in SOURCES]
    for path, figure in zip(drawn, page.figures, strict=True):
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), np.asarray(figure)), path.name


def test_samples_come_before_rejected_ones_each_with_mask_and_uncertainty(recipe: Recipe, page: Page) -> None:
    samples = list(read_shards(dataset_folder(recipe)))
    dropped = [c for report in reports(dataset_folder(recipe)) for c in report.candidates if not c.kept]
    captions = [text for text in page.texts if text.startswith("seed ") and "nats" in text]
    shown = [*samples, *sorted(dropped, key=lambda candidate: -candidate.uncertainty)]
    assert captions == [f"seed {s.seed}, uncertainty {s.uncertainty:.3f} nats" for s in shown]
    assert len(page.pictures) == 3 * len(shown)
    for i, sample in enumerate(samples):
        assert np.array_equal(np.asarray(page.pictures[3 * i]), sample.image)
        assert np.array_equal(np.asarray(page.pictures[3 * i + 1]), sample.mask)


def test_the_histogram_counts_kept_and_dropped_candidates(recipe: Recipe, page: Page) -> None:
    candidates = [c for report in reports(dataset_folder(recipe)) for c in report.candidates]
    heights = {colour: sum(height for height, c in page.bars if c == colour) for _, colour in page.bars}
    kept = sum(candidate.kept for candidate in candidates)
    assert heights["var(--bar)"] / heights["var(--bar2)"] == pytest.approx(kept / (len(candidates) - kept), rel=0.01)
    assert f"{max(candidate.uncertainty for candidate in candidates):.3f}" in page.texts


def test_class_shares_add_up_and_no_class_is_in_more_images_than_there_are(page: Page) -> None:
    start = page.texts.index("class")
    rows = [page.texts[i : i + 5] for i in range(start + 5, start + 20, 5)]
    assert [row[0] for row in rows] == ["ground", "square", "dot"]
    for column in (1, 2):
        assert sum(float(row[column].removesuffix("%")) for row in rows) == pytest.approx(100, abs=0.02)
    assert all(0 <= float(share.removesuffix("%")) <= 100 for row in rows for share in row[3:])
    assert all(row[4] == "100%" for row in rows)


def test_without_held_out_images_there_are_no_scores(recipe: Recipe, tmp_path: Path) -> None:
    project = copy_of(recipe.paths.out.parent, tmp_path / "project")
    unscored = Recipe.load(project / "recipe.toml")
    unscored = unscored.model_copy(update={"paths": unscored.paths.model_copy(update={"held_out": None})})
    assert write_page(unscored).fresh
    assert "Scores on the held-out images" not in report_page(unscored).read_text("utf-8")


def test_a_rare_class_that_the_filter_took_is_named(finished: Path) -> None:
    """The dots of all kept samples are gone from the reports, those of the dropped ones are many."""
    for path in (finished / "out" / "dataset").glob("shard-*.json"):
        report = json.loads(path.read_text())
        for candidate in report["candidates"]:
            candidate["class_pixels"] = [256, 0, 0] if candidate["kept"] else [200, 0, 56]
        path.write_text(json.dumps(report))
    recipe = Recipe.load(finished / "recipe.toml")
    recipe = recipe.model_copy(update={"paths": recipe.paths.model_copy(update={"held_out": None})})
    write_page(recipe)
    assert "dot: 0 % of the synthetic pixels, 2.3 % of the annotated: the filter drops it" in report_page(
        recipe
    ).read_text("utf-8")


def test_a_dataset_that_was_imported_has_no_page(finished: Path) -> None:
    description = finished / "out" / "dataset" / "dataset.json"
    lines = description.read_text().splitlines()
    description.write_text("\n".join('"interpreter": "",' if '"interpreter":' in line else line for line in lines))
    with pytest.raises(DatasetError, match="was imported; the page shows what a recipe's own models made"):
        write_page(Recipe.load(finished / "recipe.toml"))

"""`datasetddpm features` on a denoiser of random weights: what it scores, keeps, goes on with and writes."""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import content, copy_of, make_denoiser, make_project
from torch import Tensor

import deeplab
from label import FITTINGS, IGNORE, DenoiserFeatures, Interpreter, load_annotations
from label.cross_validation import cross_validated, folds_of, kept_maps
from label.pixel_source import PixelSource
from pipelines import Recipe

SECTION = """
[features]
steps = [50, 150]
blocks = [1, 2]
folds = 2
members = 2
joins = 2
"""
Command = Callable[..., str]
FAST = replace(FITTINGS["fast"], members=2, min_class_pixels=1, max_batches=20)


class Remembered:
    """A source of some of the maps of a larger one, which has seen the images once, all together, as they are kept."""

    def __init__(self, whole: DenoiserFeatures, chosen: Sequence[int], images: np.ndarray) -> None:
        self.image_size, self.digest = whole.image_size, f"remembered {chosen}"
        maps = [native.half().float() for native in whole.maps(images)]
        self._known = {image.tobytes(): [maps[c][i] for c in chosen] for i, image in enumerate(images)}
        self.channels = sum(maps[c].shape[1] for c in chosen)

    def maps(self, images: np.ndarray) -> list[Tensor]:
        return [torch.stack(maps) for maps in zip(*(self._known[image.tobytes()] for image in images), strict=True)]

    def save_pretrained(self, folder: Path) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Compared:
    project: Path
    said: list[str]
    written: list[dict[Path, int]]


def stamps(project: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (project / "out").rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished_comparison(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    project = make_project(tmp_path_factory.mktemp("features"))
    recipe = project / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("max_epochs = 5", "max_batches = 10") + SECTION)
    found = Compared(project, [], [])
    for _ in range(2):
        found.said.append(command("features", recipe))
        found.written.append(stamps(project))
    return found


@pytest.fixture
def copy(finished_comparison: Compared, tmp_path: Path) -> Path:
    return copy_of(finished_comparison.project, tmp_path / "copy")


def results(project: Path) -> dict[str, Any]:
    return json.loads((project / "out" / "features" / "features.json").read_text())


def by_hand(project: Path, chosen: Sequence[int], folds: int) -> float:
    """Fit and label fold by fold, each with a source that has these of the six maps alone."""
    few = load_annotations(project / "annotated", (16, 16))
    whole = DenoiserFeatures(make_denoiser(), steps=[50, 150], blocks=[1, 2, 3])
    source = Remembered(whole, chosen, few.images)
    settings = replace(FITTINGS["fast"], members=2, min_class_pixels=1, max_batches=10)
    masks = np.full_like(few.masks, IGNORE)
    for fold in range(folds):
        held_out = np.arange(len(masks)) % folds == fold
        interpreter = Interpreter.fit(
            source, few.images[~held_out], few.masks[~held_out], classes=few.scheme, settings=settings
        )
        masks[held_out] = interpreter.predict(few.images[held_out]).masks
    return deeplab.mean_iou(masks, few.masks, classes=3, ignore_index=IGNORE)


def test_the_score_of_a_single_map_is_that_of_fitting_and_labelling_fold_by_fold(
    finished_comparison: Compared,
) -> None:
    rows = {json.dumps(row["keys"]): row for row in results(finished_comparison.project)["measured"]}
    row = rows[json.dumps({"steps": [150], "blocks": [2]})]
    assert row["mean_iou"] == by_hand(finished_comparison.project, [4], 2)


def test_the_score_of_a_join_is_that_of_a_source_with_these_steps_and_blocks(finished_comparison: Compared) -> None:
    row = next(row for row in results(finished_comparison.project)["measured"] if len(row["keys"]["blocks"]) == 3)
    assert row["keys"] == {"steps": [50, 150], "blocks": [1, 2, 3]}, "the recipe's own, though features.blocks lacks 3"
    assert row["mean_iou"] == by_hand(finished_comparison.project, range(6), 2)
    assert row["channels"] == 2 * (16 + 8 + 8)


def test_every_single_map_is_measured_and_the_best_of_all_is_what_is_chosen(finished_comparison: Compared) -> None:
    found = results(finished_comparison.project)
    singles = [row["keys"] for row in found["measured"][:6]]
    assert singles == [{"steps": [step], "blocks": [block]} for step in (50, 150) for block in (1, 2, 3)]
    assert max(found["measured"], key=lambda row: row["mean_iou"])["mean_iou"] == next(
        row["mean_iou"] for row in found["measured"] if row["keys"] == found["best"]
    )


def test_it_prints_each_figure_as_it_comes_the_table_the_keys_and_the_next_command(
    finished_comparison: Compared,
) -> None:
    said, found = finished_comparison.said[0], results(finished_comparison.project)
    first = found["measured"][0]
    assert f"features: steps=50-blocks=1: mIoU {first['mean_iou']:.3f}, {first['channels']} channels" in said
    assert said.index("steps=50-blocks=1: mIoU") < said.index("not fitted on") < said.index("[interpreter]")
    keys = f"steps = {found['best']['steps']}\nblocks = {found['best']['blocks']}"
    assert keys in said
    assert keys in (finished_comparison.project / "out" / "features" / "interpreter.toml").read_text()
    (following,) = re.findall(r"^next: (datasetddpm fit .*)", said, re.MULTILINE)
    assert f"interpreter.blocks={found['best']['blocks']}".replace(" ", "") in following
    assert (finished_comparison.project / "out" / "features" / "features.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_finished_is_found_and_not_made_again(finished_comparison: Compared) -> None:
    assert finished_comparison.written[0] == finished_comparison.written[1]
    assert "features: found a comparison of 6 maps, by 4 annotated images" in finished_comparison.said[1]


def test_a_comparison_that_was_stopped_goes_on_with_the_cells_that_are_left(copy: Path, command: Command) -> None:
    before, cells = results(copy), copy / "out" / "features-cells"
    shutil.rmtree(copy / "out" / "features")
    lost = sorted(cells.iterdir())[3]
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in cells.iterdir()}
    command("features", copy / "recipe.toml")
    assert lost.is_file()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert results(copy) == before


def test_a_comparison_made_anew_is_the_same_byte_for_byte(copy: Path, command: Command) -> None:
    names = ("features.json", "features.png", "interpreter.toml")
    before = [(copy / "out" / "features" / name).read_bytes() for name in names]
    shutil.rmtree(copy / "out")
    command("features", copy / "recipe.toml")
    assert [(copy / "out" / "features" / name).read_bytes() for name in names] == before


def test_other_settings_are_another_comparison_and_the_first_comes_back(copy: Path, command: Command) -> None:
    before = results(copy)
    said = command("features", copy / "recipe.toml", "--set", "features.members=3")
    assert "features: made" in said
    assert results(copy) != before
    assert "features: found" in command("features", copy / "recipe.toml")
    assert results(copy) == before


def test_a_damaged_cell_is_named_and_measured_again_once_it_is_removed(copy: Path, command: Command) -> None:
    shutil.rmtree(copy / "out" / "features")
    cell = sorted((copy / "out" / "features-cells").iterdir())[0]
    cell.write_text("{")
    said = command("features", copy / "recipe.toml", code=2)
    assert f"{cell} is no measured cell" in said
    assert "; remove it, and it is measured again" in said
    cell.unlink()
    command("features", copy / "recipe.toml")
    assert cell.is_file()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("features.steps=[5000]", "0 to 999 are possible"),
        ("features.blocks=[9]", "this UNet's decoder has blocks 0 to 3"),
        ("interpreter.images=1", "has 1 annotated image; at least 2 are needed"),
    ],
)
def test_bad_input_is_one_sentence(override: str, sentence: str, project: Path, command: Command) -> None:
    before = content(project)
    said = command("features", project / "recipe.toml", "--set", override, code=2)
    assert sentence in said.splitlines()[-1]
    assert content(project) == before


MAE = Path(__file__).parent / "golden" / "mae_like.pth"
READ_BY_MAE = (
    "interpreter.features=mae",
    "interpreter.max_batches=10",
    "interpreter.mae_heads=4",
    f'paths.weights.mae="{MAE}"',
    "features.joins=1",
)


def test_of_another_source_its_layers_are_compared(project: Path, command: Command) -> None:
    keys = (*READ_BY_MAE, "interpreter.layers.mae=[1, 9]", "features.layers=[4]", "features.members=2")
    sets = [word for key in keys for word in ("--set", key)]
    said = command("features", project / "recipe.toml", *sets)
    found = results(project)
    assert [row["keys"]["layers"] for row in found["measured"][:4]] == [[1], [4], [9], [1, 9]]
    line = f"layers = {{ mae = {found['best']['layers']} }}"
    assert line in said
    (following,) = re.findall(r"^next: datasetddpm (fit .*)", said, re.MULTILINE)
    command(*shlex.split(following))
    record = json.loads((project / "out" / "interpreter" / "features.json").read_text())
    assert record["backbone"]["layers"] == found["best"]["layers"]


def test_several_sources_side_by_side_are_refused(project: Path, command: Command) -> None:
    sets = ("--set", 'interpreter.features=["denoiser", "mae"]', "--set", f'paths.weights.mae="{MAE}"')
    said = command("features", project / "recipe.toml", *sets, code=2)
    assert "interpreter.features names denoiser, mae; maps are chosen of one source at a time" in said


def test_every_image_is_in_one_fold_and_none_is_empty() -> None:
    for images, folds in ((20, 5), (4, 5), (7, 3)):
        found = folds_of(images, folds)
        assert sorted(image for fold in found for image in fold) == list(range(images))
        assert min(map(len, found)) >= 1


def test_maps_in_a_file_give_the_masks_that_maps_in_memory_give(tmp_path: Path) -> None:
    few = load_annotations(make_project(tmp_path) / "annotated", (16, 16))
    features = DenoiserFeatures(make_denoiser(), steps=[50, 150], blocks=[1, 2])

    def masks(budget: int | None) -> np.ndarray:
        source = kept_maps(PixelSource.of(features, few.images, memory_budget=budget), [0, 3])
        return cross_validated(features, source, few.masks, classes=few.scheme, settings=FAST, folds=3)

    assert np.array_equal(masks(None), masks(1))
    assert torch.get_default_dtype() == torch.float32


def test_the_demos_recipe_asks_for_all_of_its_blocks() -> None:
    assert Recipe.load("demo").features.blocks is None

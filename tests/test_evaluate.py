import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deeplab
from label import load_annotations
from pipelines import Recipe
from pipelines.stages.scores import over_runs, score_page
from pipelines.units.models import Models

Command = Callable[..., str]
SOURCES = ("interpreter", "synthetic", "annotated")


def counted(masks: np.ndarray, truth: np.ndarray) -> dict[str, object]:
    """The scores of three classes, counted pixel by pixel."""
    pairs = list(zip(truth.ravel().tolist(), masks.ravel().tolist(), strict=True))
    labelled = [(wanted, found) for wanted, found in pairs if wanted != 255]
    confusion = [[labelled.count((wanted, found)) for found in range(3)] for wanted in range(3)]
    ious = []
    for i in range(3):
        union = sum(wanted == i or found == i for wanted, found in labelled)
        ious.append(confusion[i][i] / union if union else None)
    known = [iou for iou in ious if iou is not None]
    accuracy = sum(wanted == found for wanted, found in labelled) / len(labelled)
    return {"mean_iou": sum(known) / len(known), "pixel_accuracy": accuracy, "confusion": confusion, "iou": ious}


def test_an_evaluation_scores_and_draws_the_interpreter_and_every_network(finished: Path, command: Command) -> None:
    mask = finished / "annotated" / "2.mask.png"
    with Image.open(mask) as image:
        partly = np.array(image)
    partly[:, 10:] = 255
    Image.fromarray(partly).save(mask)
    recipe = Recipe.load(finished / "recipe.toml", ('paths.held_out="annotated"',))
    printed = command("evaluate", finished / "recipe.toml")
    assert "made scores on 4 held-out images" in printed
    assert "DeepLabV3+ on 19 synthetic images" in printed, "the table"
    assert f"Scores: {finished / 'out' / 'scores' / 'scores.md'}" in printed
    scores, folder = finished / "out" / "scores", finished / "out" / "deeplab"
    held_out = load_annotations(finished / "annotated", (16, 16))
    masks = {"interpreter": Models.of(recipe, "cpu").interpreter.predict(held_out.images).masks}
    for source in SOURCES[1:]:
        masks[source] = deeplab.predict(deeplab.load(folder / f"{source}-seed0"), held_out.images)
    said = json.loads((scores / "scores.json").read_text())
    assert said.pop("classes") == ["ground", "square", "dot"]
    assert tuple(said) == SOURCES
    for source in SOURCES:
        (found,) = said[source]
        expected = counted(masks[source], held_out.masks)
        assert found["confusion"] == expected.pop("confusion")
        assert {key: found[key] for key in expected} == {key: pytest.approx(expected[key]) for key in expected}
    pictures = {f"{what}-{source}.png" for what in ("confusion", "images") for source in SOURCES}
    assert {path.name for path in scores.glob("*.png")} == pictures
    assert "found scores on 4 held-out images" in command("evaluate", finished / "recipe.toml")


def test_the_page_of_scores_says_means_deviations_and_the_classes_without_an_iou() -> None:
    runs = [
        {"mean_iou": 0.5, "published_mean_iou": 0.25, "pixel_accuracy": 0.75, "iou": [0.5, None]},
        {"mean_iou": 0.7, "published_mean_iou": 0.35, "pixel_accuracy": 0.85, "iou": [0.7, None]},
    ]
    page = score_page({"interpreter": runs[:1], "synthetic": runs}, ["ground", "dot"])
    assert "| interpreter | 0.500 | 0.250 | 0.750 |" in page
    assert "| synthetic | 0.600 ± 0.141 (2 runs) | 0.300 ± 0.071 (2 runs) | 0.800 ± 0.071 (2 runs) |" in page
    assert "| ground | 0.500 | 0.600 ± 0.141 (2 runs) |" in page
    assert "| dot | - | - |" in page


def test_one_run_has_no_deviation() -> None:
    assert over_runs([0.1234]) == "0.123"

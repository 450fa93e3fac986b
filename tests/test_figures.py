"""Figures are read back from what matplotlib was told, not from pixels."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from label import IGNORE, Annotations, Scheme
from pipelines.stages.figures import confusion_figure, extremes_figure, image_scores, save_figure

SCHEME = Scheme(("ground", "square", "dot"), ((0, 0, 0), (220, 40, 90), (20, 240, 240)))
CONFUSION = np.array([[90, 9, 1], [0, 0, 0], [1, 0, 199]])


def shown(axes: Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def held_out(
    wrong: list[int], *, unlabelled: int = 0, names: list[str] | None = None
) -> tuple[Annotations, np.ndarray]:
    """Images of 16 pixels, all of class 1, and predictions with so many wrong pixels in each; the last pixels of an
    image have no label."""
    masks = np.ones((len(wrong), 16), dtype=np.uint8)
    masks[:, 16 - unlabelled :] = IGNORE
    found = np.ones_like(masks)
    for prediction, count in zip(found, wrong, strict=True):
        prediction[:count] = 2
    images = np.zeros((len(wrong), 4, 4, 3), dtype=np.uint8)
    names = names or [f"face {i}" for i in range(len(wrong))]
    return Annotations(names, images, masks.reshape(-1, 4, 4), SCHEME), found.reshape(-1, 4, 4)


def columns(figure: Figure) -> list[list[Axes]]:
    """The axes of each image, from top to bottom."""
    width = len(figure.axes) // 4
    return [[figure.axes[row * width + column] for row in range(4)] for column in range(width)]


def test_a_cell_of_the_confusion_matrix_is_the_share_of_its_row_and_a_class_without_pixels_has_none() -> None:
    (axes,) = confusion_figure(CONFUSION, SCHEME.names, "interpreter").axes
    expected = [[count / sum(row) if sum(row) else 0 for count in row] for row in CONFUSION.tolist()]
    np.testing.assert_allclose(shown(axes), expected)


def test_shares_of_a_hundredth_or_more_are_written_into_their_cells() -> None:
    (axes,) = confusion_figure(CONFUSION, SCHEME.names, "interpreter").axes
    written = {(int(y), int(x)): text.get_text() for text in axes.texts for x, y in [text.get_position()]}
    assert written == {(0, 0): "90", (0, 1): "9", (0, 2): "1", (2, 2): "100"}


def test_the_classes_stand_at_both_axes() -> None:
    (axes,) = confusion_figure(CONFUSION, SCHEME.names, "interpreter").axes
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == list(SCHEME.names)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("predicted", "truth", "interpreter")


def test_an_images_score_is_the_share_of_its_labelled_pixels_that_are_right() -> None:
    rng = np.random.default_rng(0)
    predictions = rng.integers(0, 3, (5, 6, 7), dtype=np.uint8)
    truth = rng.choice(np.array([0, 1, 2, IGNORE], dtype=np.uint8), (5, 6, 7))
    expected = []
    for found, wanted in zip(predictions.reshape(5, -1).tolist(), truth.reshape(5, -1).tolist(), strict=True):
        labelled = [(f, w) for f, w in zip(found, wanted, strict=True) if w != IGNORE]
        expected.append(sum(f == w for f, w in labelled) / len(labelled))
    np.testing.assert_allclose(image_scores(predictions, truth), expected)


def test_an_image_without_labels_has_no_score() -> None:
    masks = np.stack([np.full((2, 2), IGNORE, dtype=np.uint8), np.zeros((2, 2), dtype=np.uint8)])
    none, whole = image_scores(np.zeros((2, 2, 2), dtype=np.uint8), masks)
    assert math.isnan(none)
    assert whole == 1


def test_the_four_best_images_are_shown_before_the_four_worst() -> None:
    figure = extremes_figure(*held_out([5, 0, 9, 2, 7, 1, 8, 3, 6, 4]), "title")
    titles = [column[0].get_title() for column in columns(figure)]
    wrong = {0: 1, 1: 5, 2: 3, 3: 7, 6: 8, 7: 4, 8: 6, 9: 2}  # number of wrong pixels -> image
    assert titles == [f"face {i}\n{1 - count / 16:.1%}" for count, i in wrong.items()]


def test_of_a_few_images_each_is_shown_once_and_one_without_labels_not_at_all() -> None:
    few, found = held_out([3, 0, 1])
    few.masks[1] = IGNORE
    assert [c[0].get_title().split("\n")[0] for c in columns(extremes_figure(few, found, "title"))] == [
        "face 2",
        "face 0",
    ]


def test_an_image_stands_above_its_truth_its_prediction_and_their_differences() -> None:
    few, found = held_out([3], unlabelled=2)
    (column,) = columns(extremes_figure(few, found, "title"))
    image, truth, prediction, differences = map(shown, column)
    np.testing.assert_array_equal(image, few.images[0])
    np.testing.assert_array_equal(truth.reshape(-1, 3)[:14], [SCHEME.colors[1]] * 14)
    np.testing.assert_array_equal(prediction.reshape(-1, 3), [SCHEME.colors[2]] * 3 + [SCHEME.colors[1]] * 13)
    wrong, right, unlabelled = [214, 39, 40], [230, 230, 230], [255, 255, 255]
    np.testing.assert_array_equal(differences.reshape(-1, 3), [wrong] * 3 + [right] * 11 + [unlabelled] * 2)
    assert [axes.get_ylabel() for axes in column] == ["image", "truth", "prediction", "differences"]


@pytest.mark.parametrize("name", ["a$x^$", "0007_b", "50% {"])
def test_names_are_written_as_they_are(tmp_path: Path, name: str) -> None:
    figure = confusion_figure(CONFUSION, [name, "square", "dot"], "title")
    save_figure(figure, tmp_path / "confusion.png")
    assert figure.axes[0].get_xticklabels()[0].get_text() == name
    save_figure(extremes_figure(*held_out([1], names=[name]), "title"), tmp_path / "images.png")


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        save_figure(confusion_figure(CONFUSION, SCHEME.names, "interpreter"), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_nothing_of_a_figure_is_cut_off_however_long_its_names_and_title_are(tmp_path: Path) -> None:
    names = ["a class with a name as long as a sentence, which some do have", "square", "dot"]
    save_figure(
        confusion_figure(CONFUSION, names, "synthetic: mIoU 0.544, counted as published 0.544"), tmp_path / "a.png"
    )
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("L"))
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    assert all((edge == 255).all() for edge in edges), "ink touches the edge"

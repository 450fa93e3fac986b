import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from deeplab import evaluate, mean_iou, predict, score

GOLDEN = Path(__file__).parent / "golden"
MASKS = (3, 2, 4)


def pixels(masks: np.ndarray, class_id: int) -> set[int]:
    return set(np.flatnonzero(masks == class_id).tolist())


def naive_iou(predictions: np.ndarray, targets: np.ndarray, class_id: int, ignore_index: int, absent: str) -> float:
    predicted, true = pixels(predictions, class_id), pixels(targets, class_id)
    if absent == "skip":
        predicted -= pixels(targets, ignore_index)
    if not predicted | true:
        return math.nan if absent == "skip" else 0.0
    return len(predicted & true) / len(predicted | true)


class Painter(nn.Module):
    """Says that a pixel's class is its red value."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.ids = nn.Parameter(torch.arange(classes).float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = (images[:, :1] * 0.229 + 0.485) * 255
        return -(red - self.ids.view(1, -1, 1, 1)).abs()


def painted(masks: np.ndarray) -> np.ndarray:
    return np.stack([masks] * 3, axis=-1)


@pytest.mark.parametrize("name", ["miou_ignore255", "miou_ignore0"])
def test_zero_counts_as_the_published_code_does(name: str) -> None:
    golden = np.load(GOLDEN / f"{name}.npz")
    classes, ignore_index = int(golden["classes"]), int(golden["ignore"])
    counted = mean_iou(golden["preds"], golden["gts"], classes=classes, ignore_index=ignore_index, absent="zero")
    assert counted == pytest.approx(float(golden["miou"]), abs=1e-9)


@pytest.mark.parametrize("absent", ["skip", "zero"])
@pytest.mark.parametrize("ignore_index", [0, 255])
@settings(max_examples=50, deadline=None)
@given(predictions=arrays(np.uint8, MASKS, elements=st.integers(0, 3)), data=st.data())
def test_mean_iou_equals_counting_with_sets(
    absent: Literal["skip", "zero"], ignore_index: int, predictions: np.ndarray, data: st.DataObject
) -> None:
    targets = data.draw(arrays(np.uint8, MASKS, elements=st.sampled_from([0, 1, 2, 3, ignore_index])))
    counted = mean_iou(predictions, targets, classes=4, ignore_index=ignore_index, absent=absent)
    every = [naive_iou(predictions, targets, c, ignore_index, absent) for c in range(4) if c != ignore_index]
    kept = [iou for iou in every if not math.isnan(iou)]
    expected = sum(kept) / len(kept) if kept else math.nan
    assert counted == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_masks_may_be_tensors() -> None:
    masks = torch.tensor([[[0, 1], [1, 2]]])
    assert mean_iou(masks, masks, classes=3, ignore_index=255) == 1


def test_a_class_that_is_nowhere_lowers_the_mean_only_where_it_counts_as_zero() -> None:
    masks = np.array([[[0, 1]]], dtype=np.uint8)
    assert mean_iou(masks, masks, classes=4, ignore_index=255) == 1
    assert mean_iou(masks, masks, classes=4, ignore_index=255, absent="zero") == 0.5


def test_a_prediction_on_an_ignored_pixel_is_wrong_only_in_the_published_counting() -> None:
    predictions, targets = np.array([[[0, 1, 1]]], dtype=np.uint8), np.array([[[0, 1, 255]]], dtype=np.uint8)
    assert mean_iou(predictions, targets, classes=2, ignore_index=255) == 1
    assert mean_iou(predictions, targets, classes=2, ignore_index=255, absent="zero") == 0.75


def test_masks_without_any_truth_have_no_mean_iou() -> None:
    nothing = np.full((1, 2, 2), 255, dtype=np.uint8)
    assert math.isnan(mean_iou(np.zeros_like(nothing), nothing, classes=2, ignore_index=255))


def test_an_unknown_class_in_a_target_is_named() -> None:
    masks = np.array([[[0, 7]]], dtype=np.uint8)
    with pytest.raises(ValueError, match="target holds class 7; there are 0 to 2"):
        mean_iou(np.zeros_like(masks), masks, classes=3, ignore_index=255)


def test_an_unknown_class_in_a_prediction_is_named() -> None:
    masks = np.array([[[0, 7]]], dtype=np.uint8)
    with pytest.raises(ValueError, match="prediction holds class 7; there are 0 to 2"):
        mean_iou(masks, np.zeros_like(masks), classes=3, ignore_index=255)


def test_evaluate_counts_over_all_batches_at_once() -> None:
    rng = np.random.default_rng(0)
    targets = rng.choice(np.array([0, 1, 2, 255], dtype=np.uint8), (5, 4, 6))
    images = painted(rng.integers(0, 3, targets.shape, dtype=np.uint8))
    model = Painter(3)
    scores = evaluate(model, [(images[:2], targets[:2]), (images[2:], targets[2:])], classes=3, ignore_index=255)
    predictions = predict(model, images)
    assert scores.mean_iou == pytest.approx(mean_iou(predictions, targets, classes=3, ignore_index=255))
    labelled = targets != 255
    assert scores.pixel_accuracy == pytest.approx((predictions == targets)[labelled].mean())
    assert scores.confusion[1, 2] == ((targets == 1) & (predictions == 2)).sum()
    assert scores.confusion.sum() == labelled.sum()


def test_a_class_that_is_nowhere_has_no_score_of_its_own() -> None:
    masks = np.array([[[0, 2]]], dtype=np.uint8)
    scores = evaluate(Painter(4), [(painted(masks), masks)], classes=4, ignore_index=255)
    assert scores.iou == (1.0, None, 1.0, None)


def test_scores_are_counted_both_ways_side_by_side() -> None:
    masks = np.array([[[0, 2]]], dtype=np.uint8)
    scores = evaluate(Painter(4), [(painted(masks), masks)], classes=4, ignore_index=255)
    assert (scores.mean_iou, scores.published_mean_iou) == (1.0, 0.5)
    assert scores.published_iou == (1.0, 0.0, 1.0, 0.0)


def test_a_class_that_became_the_ignored_one_when_it_was_read_counts_as_the_published_code_counts_it() -> None:
    golden = np.load(GOLDEN / "miou_ignore0.npz")
    targets, predictions = golden["gts"].astype(np.uint8), golden["preds"]
    targets[targets == 0] = 255
    counted = mean_iou(
        predictions, targets, classes=int(golden["classes"]), ignore_index=255, absent="zero", excluded=[0]
    )
    assert counted == pytest.approx(float(golden["miou"]), abs=1e-9)
    scores = score(predictions, targets, classes=int(golden["classes"]), ignore_index=255, excluded=[0])
    assert scores.published_mean_iou == counted
    assert scores.iou[0] is scores.published_iou[0] is None


def test_masks_of_another_size_than_their_images_are_refused() -> None:
    images, masks = np.zeros((1, 4, 4, 3), dtype=np.uint8), np.zeros((1, 4, 5), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"predictions are \[1, 4, 4\] and targets \[1, 4, 5\]"):
        evaluate(Painter(2), [(images, masks)], classes=2, ignore_index=255)


def test_an_unknown_counting_lists_the_known_ones() -> None:
    masks = np.zeros((1, 2, 2), dtype=np.uint8)
    unknown: Any = "nan"
    with pytest.raises(ValueError, match='absent is \'nan\'; it is "skip" or "zero"'):
        mean_iou(masks, masks, classes=2, ignore_index=255, absent=unknown)


def test_no_batch_to_evaluate_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="no batch to evaluate on"):
        evaluate(Painter(2), [], classes=2, ignore_index=255)

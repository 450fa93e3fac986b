import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from label import FILTERS, Judged, image_uncertainty, jensen_shannon, keep_most_certain, keep_published
from label.uncertainty import majority

GOLDEN = Path(__file__).parent / "golden"
LAYERS = {0: "Linear", 2: "BatchNorm", 3: "Linear", 5: "BatchNorm", 6: "Linear"}


def reference_logits(name: str) -> torch.Tensor:
    """Scores of the three golden members, layer by layer from their state_dicts."""
    features = torch.from_numpy(np.load(GOLDEN / f"{name}.npz")["features"])
    scores = []
    for member in range(3):
        weights = torch.load(GOLDEN / f"{name}_model_{member}.pth", weights_only=True)["model_state_dict"]
        x = features
        for layer, kind in LAYERS.items():
            w = {k.rpartition(".")[2]: v for k, v in weights.items() if k.startswith(f"module.layers.{layer}.")}
            if kind == "Linear":
                x = x @ w["weight"].T + w["bias"]
                x = x.relu() if layer < 6 else x
            else:
                x = (x - w["running_mean"]) / (w["running_var"] + 1e-5).sqrt() * w["weight"] + w["bias"]
        scores.append(x)
    return torch.stack(scores)


@pytest.mark.parametrize("name", ["interpreter_small", "interpreter_wide"])
def test_divergence_vote_and_image_uncertainty_are_the_published_ones(name):
    golden, logits = np.load(GOLDEN / f"{name}.npz"), reference_logits(name)
    divergence = jensen_shannon(logits).view(*golden["js"].shape)
    assert np.abs(divergence.numpy() - golden["js"]).max() < 1e-5
    assert abs(image_uncertainty(divergence).item() - float(golden["uncertainty"])) < 1e-5
    assert np.array_equal(logits.argmax(-1).mode(dim=0).values.view(*golden["labels"].shape), golden["labels"])


@given(arrays(np.float32, (3, 5, 4), elements=st.floats(-30, 30, width=32)))
def test_divergence_lies_between_0_and_ln_classes(logits):
    divergence = jensen_shannon(torch.from_numpy(logits))
    assert (divergence >= 0).all()
    assert (divergence <= math.log(4) + 1e-5).all()


@given(arrays(np.int8, (4, 6, 3), elements=st.integers(-2, 2)))  # few values, so that scores and votes tie
def test_the_vote_is_that_of_each_members_first_highest_class_and_of_ties_the_lowest(scores):
    logits = torch.from_numpy(scores).float()
    assert torch.equal(majority(logits).long(), logits.argmax(-1).mode(dim=0).values)


def test_members_that_agree_have_no_divergence():
    assert jensen_shannon(torch.randn(1, 7, 5).repeat(4, 1, 1)).max() < 1e-6


def test_members_that_are_sure_of_different_classes_diverge_by_ln_of_their_number():
    logits = torch.full((3, 1, 3), -100.0)
    logits[range(3), 0, range(3)] = 100.0
    torch.testing.assert_close(jensen_shannon(logits), torch.tensor([math.log(3)]))


def test_an_image_is_as_uncertain_as_its_highest_tenth():
    pixels = torch.arange(100.0).view(10, 10)
    assert image_uncertainty(pixels).item() == pytest.approx(sum(range(90, 100)) / 10)


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0, 0.99))
def test_the_filter_keeps_exactly_the_most_certain(scores, portion):
    kept = keep_most_certain(torch.tensor(scores, dtype=torch.float64), portion).tolist()
    dropped = set(range(len(scores))) - set(kept)
    assert len(dropped) == int(len(scores) * portion)
    assert kept == sorted(kept)
    assert all(scores[i] <= scores[j] for i in kept for j in dropped)


@pytest.mark.parametrize("portion", [-0.1, 1.0])
@pytest.mark.parametrize("keep", FILTERS.values(), ids=FILTERS)
def test_a_share_that_cannot_be_dropped_is_refused(keep, portion):
    with pytest.raises(ValueError, match="at least 0 and less than 1"):
        keep(Judged(torch.zeros(3), torch.ones(3, 2, dtype=torch.long), torch.zeros(3, 2)), portion)


def test_the_published_filter_keeps_what_the_publication_kept():
    golden = np.load(GOLDEN / "filter_1000_0.1.npz")
    kept = keep_published(torch.from_numpy(golden["uncertainty"]), float(golden["portion"]))
    assert np.array_equal(kept.numpy(), np.sort(golden["kept"]))


@pytest.mark.parametrize(("images", "kept"), [(309, 0), (310, 309 - 30), (311, 310 - 30)])
def test_the_published_filter_keeps_nothing_where_it_drops_30_or_fewer(images, kept):
    assert len(keep_published(torch.arange(images).float(), 0.1)) == kept


def test_scores_stay_as_they_were():
    scores = torch.randn(3, 40, 5)
    before = scores.clone()
    jensen_shannon(scores)
    assert torch.equal(scores, before)

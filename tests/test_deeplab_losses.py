from typing import Any

import pytest
import torch

from deeplab.losses import cross_entropy, loss_of

LOGITS = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
MASKS = torch.randint(0, 3, (2, 4, 4), generator=torch.Generator().manual_seed(1))
EQUAL = torch.ones(3)


def test_dice_adds_the_mean_over_classes_of_one_minus_overlap() -> None:
    shares, truth = LOGITS.softmax(1), torch.nn.functional.one_hot(MASKS, 3).permute(0, 3, 1, 2)
    overlap = 2 * (shares * truth).sum((0, 2, 3)) / (shares + truth).sum((0, 2, 3))
    expected = cross_entropy(LOGITS, MASKS, EQUAL, 255) + (1 - overlap).mean()
    torch.testing.assert_close(loss_of("cross_entropy+dice", LOGITS, MASKS, EQUAL, 255), expected)


def test_focal_adds_the_mean_over_pixels_and_classes() -> None:
    truth = torch.nn.functional.one_hot(MASKS, 3).permute(0, 3, 1, 2).float()
    certain = LOGITS.sigmoid() * truth + (1 - LOGITS.sigmoid()) * (1 - truth)
    focal = (-((1 - certain) ** 2) * certain.log()).mean()
    expected = cross_entropy(LOGITS, MASKS, EQUAL, 255) + focal
    torch.testing.assert_close(loss_of("cross_entropy+focal", LOGITS, MASKS, EQUAL, 255), expected)


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy+dice", "cross_entropy+focal"])
def test_a_batch_without_any_label_has_the_loss_zero(name: Any) -> None:
    assert loss_of(name, LOGITS, torch.full_like(MASKS, 255), EQUAL, 255).item() == 0


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy+dice", "cross_entropy+focal"])
def test_a_class_that_the_batch_lacks_leaves_the_loss_finite(name: Any) -> None:
    assert loss_of(name, LOGITS, MASKS.clamp_max(1), EQUAL, 255).isfinite()

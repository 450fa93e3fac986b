import itertools
from typing import Any

import numpy as np
import pytest
import torch

from deeplab import DeepLabError, Optimisation, build, evaluate, fit, predict
from deeplab.losses import cross_entropy
from deeplab.model import DeepLab
from deeplab.trainer import Trainee

RNG = np.random.default_rng(0)


def small(**changes: Any) -> DeepLab:
    return build(3, encoder="mobilenet_v2", encoder_depth=3, decoder_channels=8, **changes)


def batch(count: int = 4, height: int = 32, width: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Images whose left half is dark and of class 0, whose right half is bright and of class 1."""
    masks = np.zeros((count, height, width), dtype=np.uint8)
    masks[:, :, width // 2 :] = 1
    return np.stack([masks * 180] * 3, axis=-1) + RNG.integers(0, 40, (*masks.shape, 3), dtype=np.uint8), masks


def losses(model: DeepLab, **changes: Any) -> list[float]:
    batches = [batch_of_seed(number) for number in range(3)]
    return [step.loss for step in fit(model, batches, steps=3, **changes)]


def batch_of_seed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8), rng.integers(0, 3, (2, 16, 16), dtype=np.uint8)


def test_fit_lowers_the_loss_on_a_list_of_two_batches() -> None:
    two = [batch(), batch()]
    steps = list(fit(small(), itertools.cycle(two), steps=30, learning_rate=1e-2))
    assert [step.number for step in steps] == list(range(1, 31))
    assert steps[-1].loss < steps[0].loss / 3


def test_a_network_fitted_to_halves_finds_them() -> None:
    model, held_out = small(), batch()
    for _ in fit(model, itertools.repeat(batch()), steps=80, learning_rate=3e-3):
        pass
    assert evaluate(model, [held_out], classes=3, ignore_index=255).pixel_accuracy > 0.9


def test_the_same_seed_gives_the_same_losses() -> None:
    first = losses(small(), seed=3)
    torch.rand(5)  # moves the global generator
    assert losses(small(), seed=3) == first


def test_another_seed_drops_other_channels() -> None:
    assert losses(small(), seed=3) != losses(small(), seed=4)


def test_no_batch_is_taken_beyond_the_last_step_and_one_beyond_every_other() -> None:
    taken: list[int] = []
    numbered = (taken.append(number) or batch_of_seed(number) for number in itertools.count())
    after = [len(taken) for _ in fit(small(), numbered, steps=3)]
    assert after == [2, 3, 3]


def test_a_network_that_has_more_steps_than_it_needs_takes_none() -> None:
    trained = Trainee(small(), Optimisation(2))
    list(trained.train([batch_of_seed(0), batch_of_seed(1)]))
    again = Trainee(small(), Optimisation(1))
    again.restore(trained.state())
    assert list(again.train([batch_of_seed(2)])) == []


def test_evaluating_between_steps_changes_no_step() -> None:
    undisturbed = losses(small())
    model, disturbed = small(), []
    for step in fit(model, [batch_of_seed(number) for number in range(3)], steps=3):
        disturbed.append(step.loss)
        predict(model, batch(1)[0])
    assert disturbed == undisturbed


def test_the_cosine_schedule_falls_from_the_learning_rate_towards_zero() -> None:
    steps = fit(small(), itertools.repeat(batch(2)), steps=4, learning_rate=0.1, schedule="cosine")
    rates = [step.learning_rate for step in steps]
    assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], abs=1e-6)


def test_the_constant_schedule_keeps_the_learning_rate() -> None:
    steps = fit(small(), itertools.repeat(batch(2)), steps=3, learning_rate=0.1)
    assert {step.learning_rate for step in steps} == {0.1}


def test_a_step_of_rate_zero_moves_no_weight() -> None:
    model = small()
    before = [parameter.clone() for parameter in model.parameters()]
    next(fit(model, [batch(2)], steps=1, learning_rate=0.0))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("variant", ["v3", "v3+"])
def test_a_batch_of_one_trains(variant: str) -> None:
    model = small(variant=variant)
    steps = list(fit(model, [batch(2), batch(1), batch(1, 40, 24)], steps=3))
    assert all(np.isfinite(step.loss) for step in steps)


def test_the_pooling_branch_trains_again_after_a_batch_of_one() -> None:
    model = small().train()
    pooling = model.network.get_submodule("decoder.aspp.convs.4")
    model(torch.zeros(1, 3, 32, 32))
    assert not pooling.training
    model(torch.zeros(2, 3, 32, 32))
    assert pooling.training


def test_images_may_have_a_size_that_the_stride_does_not_divide() -> None:
    assert len(list(fit(small(), [batch(2, 37, 29)], steps=1))) == 1


def test_masks_may_be_tensors() -> None:
    images, masks = batch_of_seed(0)
    from_tensors = [step.loss for step in fit(small(), [(torch.tensor(images), torch.tensor(masks))], steps=1)]
    assert from_tensors == [step.loss for step in fit(small(), [(images, masks)], steps=1)]


def test_ignored_pixels_carry_no_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    masks = torch.zeros(1, 4, 4, dtype=torch.long)
    masks[0, 1] = 255
    cross_entropy(logits, masks, torch.ones(3), ignore_index=255).backward()
    assert logits.grad is not None
    touched = logits.grad.abs().sum(1)[0] > 0
    assert torch.equal(touched, masks[0] != 255)


def test_ignored_pixels_do_not_dilute_the_loss() -> None:
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(1, 4, 4, dtype=torch.long)
    masks[:, 2:] = 2
    labelled = cross_entropy(logits[:, :, :2], masks[:, :2], torch.ones(3), ignore_index=2)
    torch.testing.assert_close(cross_entropy(logits, masks, torch.ones(3), ignore_index=2), labelled)


def test_a_pixel_counts_by_the_weight_of_its_class() -> None:
    logits = torch.randn(1, 3, 1, 2, generator=torch.Generator().manual_seed(0))
    first, second = -logits.log_softmax(1)[0, 0, 0, 0], -logits.log_softmax(1)[0, 2, 0, 1]
    loss = cross_entropy(logits, torch.tensor([[[0, 2]]]), torch.tensor([1.0, 5.0, 3.0]), ignore_index=255)
    torch.testing.assert_close(loss, (first + 3 * second) / 4)


def test_fit_weights_the_classes() -> None:
    assert losses(small(), class_weights=[1, 1, 1]) == losses(small())
    assert losses(small(), class_weights=[1, 1, 9]) != losses(small())


def test_class_weights_for_other_classes_are_refused() -> None:
    with pytest.raises(DeepLabError, match="2 class weights came for a network of 3 classes"):
        losses(small(), class_weights=[1, 1])


def test_a_batch_without_any_label_has_the_loss_zero_and_harms_nothing() -> None:
    images, masks = batch(2)
    model = small()
    (step,) = fit(model, [(images, np.full_like(masks, 255))], steps=1)
    assert step.loss == 0
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_batches_that_end_early_are_an_error() -> None:
    with pytest.raises(DeepLabError, match="ended after 1 of 2 steps"):
        list(fit(small(), [batch(2)], steps=2))


def test_a_class_that_the_network_lacks_is_named() -> None:
    images, masks = batch(2)
    with pytest.raises(DeepLabError, match="holds class 9; the network has 0 to 2, and 255 is ignored"):
        list(fit(small(), [(images, masks * 9)], steps=1))


def test_masks_of_another_size_than_their_images_are_refused() -> None:
    images, masks = batch(2)
    with pytest.raises(DeepLabError, match=r"masks are \[2, 31, 32\] where their images need \[2, 32, 32\]"):
        list(fit(small(), [(images, masks[:, 1:])], steps=1))


def test_images_that_are_not_8_bit_are_refused() -> None:
    images, masks = batch(2)
    with pytest.raises(DeepLabError, match=r"images are torch.float64 \[2, 32, 32, 3\]; uint8"):
        list(fit(small(), [(images / 255, masks)], steps=1))


def test_no_steps_are_refused_before_the_first() -> None:
    with pytest.raises(DeepLabError, match="0 steps"):
        fit(small(), [], steps=0)


def test_an_unknown_schedule_lists_the_known_ones() -> None:
    unknown: Any = "linear"
    with pytest.raises(DeepLabError, match="schedule is 'linear'; known are constant, cosine"):
        fit(small(), [], steps=1, schedule=unknown)

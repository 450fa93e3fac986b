import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from label.fitting import _orders, fit_members, labelled_pixels
from label.pixel_classifiers import PixelClassifiers
from label.pixel_source import PixelSource
from label.settings import FITTINGS, Fitting
from label.tiles import FoldedClassifiers

MASKS = np.zeros((2, 8, 8), dtype=np.uint8)
MASKS[:, 4:] = 1
MASKS[:, 6:, 6:] = 2


def source() -> PixelSource:
    """Features that tell the classes apart, and some that do not."""
    told = torch.nn.functional.one_hot(torch.from_numpy(MASKS).long(), 3).half()
    return PixelSource([told, torch.randn(2, 8, 8, 2, generator=torch.Generator().manual_seed(0)).half()], (8, 8))


def fitted(members: int, **settings: Any) -> PixelClassifiers:
    classifiers = PixelClassifiers(members, 5, 3)
    given: dict[str, Any] = {"max_epochs": 3} | settings
    fitting = Fitting(members=members, batch_size=16, min_class_pixels=1, **given)
    for _ in fit_members(classifiers, source(), labelled_pixels(MASKS, 1), fitting):
        pass
    return classifiers


def test_fitting_learns_classes_that_can_be_told_apart():
    classifiers = fitted(2, max_epochs=30)
    maps = [m[0].permute(2, 0, 1).float() for m in source().maps]
    mask = FoldedClassifiers.of(classifiers).scores(maps, (8, 8), "bilinear").argmax(-1)
    assert (mask == torch.from_numpy(MASKS[0])).all()


def test_a_member_is_the_same_whoever_is_trained_beside_it():
    alone, together = fitted(1, max_epochs=1).linear_1.weight[0], fitted(3, max_epochs=1).linear_1.weight
    # Adam turns the sign of a gradient of about 0 into a whole step, so that single weights may part by two steps
    assert (together[0] - alone).norm() < 0.1 * alone.norm()
    assert (together[1] - alone).norm() > alone.norm()


def test_members_differ_from_each_other():
    weight = fitted(3).linear_1.weight
    assert not torch.allclose(weight[0], weight[1], atol=1e-2)
    assert not torch.allclose(weight[1], weight[2], atol=1e-2)


def test_another_seed_gives_other_members():
    assert not torch.allclose(fitted(1).linear_1.weight, fitted(1, seed=1).linear_1.weight, atol=1e-2)


def test_a_member_that_has_stopped_keeps_the_weights_it_stopped_with():
    classifiers = PixelClassifiers(2, 5, 3)
    settings = Fitting(members=2, batch_size=16, min_class_pixels=1, max_epochs=300, patience=3)
    after_step, stopped_at, training = [], {}, 2
    for step in fit_members(classifiers, source(), labelled_pixels(MASKS, 1), settings):
        after_step.append(classifiers.linear_1.weight.detach().clone())
        training = step.training
        stopped_at.setdefault(training, step.number - 1)
    assert training == 0, "both members stopped before the epochs ran out"
    assert 1 in stopped_at, "they stopped at different batches"
    kept = classifiers.linear_1.weight.detach()
    first_to_stop = [m for m in range(2) if torch.equal(kept[m], after_step[stopped_at[1]][m])]
    assert len(first_to_stop) == 1
    assert not torch.equal(kept[first_to_stop[0]], after_step[-1][first_to_stop[0]])


def test_no_member_stops_before_the_fifth_epoch():
    settings = Fitting(members=1, batch_size=16, min_class_pixels=1, max_epochs=300, patience=1)
    steps = list(fit_members(PixelClassifiers(1, 5, 3), source(), labelled_pixels(MASKS, 1), settings))
    batches_an_epoch = MASKS.size // 16
    assert len(steps) > 4 * batches_an_epoch
    assert len(steps) < 300 * batches_an_epoch


def test_a_limit_on_the_batches_ends_the_fit():
    settings = Fitting(members=1, batch_size=16, max_epochs=50, max_batches=11)
    steps = list(fit_members(PixelClassifiers(1, 5, 3), source(), labelled_pixels(MASKS, 1), settings))
    assert [step.number for step in steps] == list(range(1, 12))
    assert {step.most for step in steps} == {settings.batches(MASKS.size)} == {11}


def test_more_batches_than_the_epochs_hold_are_not_made():
    assert Fitting(batch_size=16, max_epochs=2, max_batches=100).batches(50) == 6
    assert Fitting(batch_size=64, max_epochs=2).batches(50) == 2


def test_the_cosine_rate_rises_for_a_tenth_of_the_batches_and_falls_to_nothing():
    settings = Fitting(schedule="cosine", learning_rate=0.5)
    rates = [settings.rate(batch, 100) for batch in range(100)]
    assert rates[:10] == pytest.approx([0.05 * (i + 1) for i in range(10)])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[55] == pytest.approx(0.25)
    assert 0 < rates[-1] < 1e-3


def test_the_published_rate_is_constant():
    assert {FITTINGS["published"].rate(batch, 100) for batch in range(100)} == {1e-3}


def test_the_rate_is_what_members_are_trained_at():
    """With a rate of almost nothing after the first batch, later batches change almost nothing."""
    few, many = (
        fitted(1, schedule="cosine", learning_rate=1e-12, max_epochs=epochs).linear_1.weight for epochs in (1, 3)
    )
    assert torch.allclose(few, many, atol=1e-9)
    moved = fitted(1, schedule="cosine", learning_rate=1e-2, max_epochs=3).linear_1.weight
    assert not torch.allclose(few, moved, atol=1e-3)


def test_the_fast_setting_learns_as_well_in_fewer_batches():
    classifiers, pixels = PixelClassifiers(2, 5, 3), labelled_pixels(MASKS, 1)
    settings = replace(FITTINGS["fast"], members=2, max_batches=60)
    last = list(fit_members(classifiers, source(), pixels, settings))[-1]
    assert last.loss < 0.05


def test_standardised_features_have_mean_0_and_deviation_1_and_the_maps_stay_as_they_are():
    plain = PixelSource([torch.randn(2, 8, 8, 3).mul(5).add(40).half(), torch.randn(2, 4, 4, 2).half()], (8, 8))
    before, standardised = plain.maps[0].clone(), plain.standardised()
    image, row, column = torch.cartesian_prod(torch.arange(2), torch.arange(8), torch.arange(8)).unbind(1)
    features = standardised.gather(image, row, column)
    assert features[:, :3].mean(0).abs().max() < 1e-3
    assert features[:, :3].std(0, correction=0).sub(1).abs().max() < 1e-2
    assert torch.equal(plain.maps[0], before)
    assert plain.gather(image, row, column)[:, :3].mean() > 30


def test_members_trained_on_standardised_features_take_plain_ones():
    shifted = PixelSource([source().maps[0].mul(8).add(100), source().maps[1]], (8, 8))
    classifiers = PixelClassifiers(1, 5, 3)
    settings = Fitting(members=1, batch_size=16, max_epochs=30, standardise=True)
    for _ in fit_members(classifiers, shifted, labelled_pixels(MASKS, 1), settings):
        pass
    maps = [m[0].permute(2, 0, 1).float() for m in shifted.maps]
    mask = FoldedClassifiers.of(classifiers).scores(maps, (8, 8), "bilinear").argmax(-1)
    assert (mask == torch.from_numpy(MASKS[0])).all()


def test_a_balanced_draw_takes_a_class_by_the_root_of_its_share():
    labels = torch.tensor([0] * 900 + [1] * 100)
    draws = itertools.islice(_orders(labels, Fitting(draw="balanced"), [torch.Generator().manual_seed(0)]), 300)
    share = torch.cat([labels[chosen[0]] for _, chosen in draws]).float().mean()
    assert share == pytest.approx(1 / (1 + 3), abs=0.02)


def test_a_uniform_draw_takes_every_pixel_once_an_epoch():
    labels = torch.zeros(64, dtype=torch.int64)
    draws = list(itertools.islice(_orders(labels, Fitting(batch_size=16), [torch.Generator().manual_seed(0)]), 8))
    assert [epoch for epoch, _ in draws] == [0] * 4 + [1] * 4
    for epoch in range(2):
        assert torch.cat([chosen[0] for e, chosen in draws if e == epoch]).sort().values.tolist() == list(range(64))


def test_a_class_that_is_too_small_in_an_image_is_left_out_there():
    labels = labelled_pixels(MASKS, min_class_pixels=5).label
    assert labels.unique().tolist() == [0, 1]
    assert labelled_pixels(MASKS, min_class_pixels=4).label.unique().tolist() == [0, 1, 2]


def test_ignored_pixels_are_left_out():
    masks = MASKS.copy()
    masks[0] = 255
    assert labelled_pixels(masks, 1).image.unique().tolist() == [1]


def test_annotations_without_any_pixel_left_are_refused():
    with pytest.raises(ValueError, match="no class has 100 pixels in any image"):
        labelled_pixels(MASKS, 100)

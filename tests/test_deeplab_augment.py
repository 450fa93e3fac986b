from typing import Any

import numpy as np
import pytest
import torch

from deeplab import augment

MASK = np.arange(32 * 24, dtype=np.uint16).reshape(32, 24).astype(np.uint8) % 5
IMAGE = np.stack([MASK * 50] * 3, axis=-1)


def test_the_published_setting_changes_nothing() -> None:
    image, mask = augment("none", IMAGE, MASK, seed=[0])
    assert image is IMAGE
    assert mask is MASK


@pytest.mark.parametrize("name", ["mirrored", "strong", "strong_mirrored"])
def test_a_mask_keeps_its_size_and_gets_no_class_that_was_not_there(name: Any) -> None:
    for seed in range(20):
        image, mask = augment(name, IMAGE, MASK, seed=[seed])
        assert image.shape == IMAGE.shape
        assert image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1, 2, 3, 4, 255}


def test_mask_and_image_move_together() -> None:
    halves = np.zeros((64, 64), dtype=np.uint8)
    halves[:, 32:] = 1
    picture = np.stack([halves * 200] * 3, axis=-1)
    for seed in range(10):
        image, mask = augment("strong_mirrored", picture, halves, seed=[seed])
        bright, known = image.mean(-1) > 60, mask != 255
        assert (bright == (mask == 1))[known].mean() > 0.9


def test_mirrored_is_the_image_as_it_is_or_from_right_to_left_with_its_mask() -> None:
    seen = set()
    for seed in range(20):
        image, mask = augment("mirrored", IMAGE, MASK, seed=[seed])
        is_mirrored = not np.array_equal(image, IMAGE)
        expected = (IMAGE[:, ::-1], MASK[:, ::-1]) if is_mirrored else (IMAGE, MASK)
        assert np.array_equal(image, expected[0])
        assert np.array_equal(mask, expected[1])
        seen.add(is_mirrored)
    assert seen == {True, False}


def test_the_same_seed_gives_the_same_change_and_another_another() -> None:
    first = augment("strong", IMAGE, MASK, seed=[3, 1])
    torch.rand(7)  # moves the global generator
    again, other = augment("strong", IMAGE, MASK, seed=[3, 1]), augment("strong", IMAGE, MASK, seed=[3, 2])
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_the_global_generator_stays_as_it_was() -> None:
    before = torch.random.get_rng_state()
    augment("strong", IMAGE, MASK, seed=[0])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_name_lists_the_known_ones() -> None:
    unknown: Any = "weak"
    with pytest.raises(ValueError, match="no augmentation 'weak'; there are none, mirrored, strong, strong_mirrored"):
        augment(unknown, IMAGE, MASK, seed=[0])

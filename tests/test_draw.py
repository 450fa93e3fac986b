import numpy as np
import pytest

from pipelines.demo.draw import CLASSES, draw_annotated, draw_images, stratified


def test_a_drawing_is_a_function_of_its_number():
    (_, first, mask), (_, second, _) = draw_annotated(range(7, 9))
    ((_, again),) = draw_images(range(7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert mask.shape == first.shape[:2]
    assert set(np.unique(mask)) <= set(range(len(CLASSES)))


def test_a_mask_follows_the_parts_of_its_image():
    ((_, image, mask),) = draw_annotated(range(3, 4))
    colors = {name: image[mask == i].mean(0) for i, name in enumerate(CLASSES) if (mask == i).sum() > 20}
    spread = {name: image[mask == i].std(0).mean() for i, name in enumerate(CLASSES) if name in colors}
    assert {"background", "skin", "hair", "clothes"} <= set(colors)
    assert spread["skin"] < image.std((0, 1)).mean(), "a part is of fewer colours than the image"


def test_the_choice_holds_every_class_often_enough():
    masks = [np.full((8, 8), i % len(CLASSES), dtype=np.uint8) for i in range(40)]
    chosen = stratified(masks, 16, at_least=2)
    assert len(set(chosen)) == 16
    assert np.bincount([chosen_mask[0, 0] for chosen_mask in (masks[i] for i in chosen)]).min() >= 2


def test_a_class_that_is_too_rare_is_refused():
    masks = [np.zeros((8, 8), dtype=np.uint8) for _ in range(10)]
    with pytest.raises(ValueError, match="hold every class 2 times"):
        stratified(masks, 5, at_least=2)

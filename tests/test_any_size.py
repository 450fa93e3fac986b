"""Images of any size; beside the tiles in bands and strips stands a slow blend of the whole image at once."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from label import FITS, DenoiserFeatures, Fitting, Interpreter, Labels, Scheme, any_size, load_annotations
from label.pixel_classifiers import PixelClassifiers
from label.tiles import FoldedClassifiers
from label.uncertainty import decide

RNG = np.random.default_rng(0)
SIZES = [(16, 16), (64, 64), (1, 1), (9, 40), (40, 9), (17, 16), (1, 30)]


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def interpreter(tiny_denoiser, project):
    few = load_annotations(project / "annotated", (16, 16))
    settings = Fitting(members=3, batch_size=64, max_epochs=6, min_class_pixels=1)
    features = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[1, 3])
    return Interpreter.fit(features, few.images, few.masks, classes=few.scheme, settings=settings)


class Colours:
    """A feature source without any context: a pixel's features are its colour, or its window's mean colour."""

    digest = "colours"
    channels = 3

    def __init__(self, image_size: tuple[int, int], *, mean: bool) -> None:
        self.image_size, self.mean = image_size, mean

    def maps(self, images):
        maps = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return [maps.mean((2, 3), keepdim=True).expand_as(maps).contiguous() if self.mean else maps]

    def save_pretrained(self, folder: Path) -> None:
        raise NotImplementedError


def of_colours(image_size=(16, 12), *, mean=False):
    classifiers = PixelClassifiers(3, 3, 4, widths=(8, 8))
    classifiers.initialise([torch.Generator().manual_seed(i) for i in range(3)])
    for linear in (classifiers.linear_1, classifiers.linear_2, classifiers.linear_3):
        linear.weight.data *= 50  # so that members differ and are not all of one opinion
    return Interpreter(Colours(image_size, mean=mean), classifiers, Scheme(("a", "b", "c", "d")))


def same(labels, expected, tolerance=1e-5):
    """Equal masks but where two classes tie, and equal uncertainty."""
    assert (labels.masks == expected.masks).mean() > 0.999
    assert np.allclose(labels.pixel_uncertainty, expected.pixel_uncertainty, atol=tolerance)
    assert np.allclose(labels.uncertainty, expected.uncertainty, atol=tolerance)


def exactly(labels, expected):
    assert np.array_equal(labels.masks, expected.masks)
    assert np.array_equal(labels.pixel_uncertainty, expected.pixel_uncertainty)
    assert np.array_equal(labels.uncertainty, expected.uncertainty)


def starts(side, window):
    """As few windows as cover the side at no more than half a window from one to the next, evenly spread."""
    last = side - window
    count = next(n for n in range(1, side + 2) if last <= (n - 1) * (window // 2))
    return [round(i * last / max(1, count - 1)) for i in range(count)]


def blended_at_once(image, interpreter):
    """All scores of the whole image, from every window in turn, divided by the weights in the end."""
    height, width = interpreter.features.image_size
    sides = image.shape[:2]
    scores = torch.zeros(interpreter.classifiers.members, *sides, len(interpreter.scheme), dtype=torch.float64)
    weights = torch.zeros(*sides, 1, dtype=torch.float64)
    bump = [[math.sin(math.pi * (i + 0.5) / n) ** 2 for i in range(n)] for n in (height, width)]
    bump = torch.tensor(bump[0], dtype=torch.float64)[:, None, None] * torch.tensor(bump[1])[:, None]
    for top in starts(sides[0], height):
        for left in starts(sides[1], width):
            (seen,) = interpreter.logits(image[None, top : top + height, left : left + width])
            scores[:, top : top + height, left : left + width] += seen * bump
            weights[top : top + height, left : left + width] += bump
    return (scores / weights).float()


def labelled(scores):
    mask, doubt = decide(scores)
    return Labels(mask[None].numpy(), any_size.image_uncertainty(doubt[None]).numpy(), doubt[None].numpy())


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", SIZES)
def test_labels_have_the_images_size(interpreter, fit, size):
    labels = FITS[fit](noise(*size), interpreter)
    assert labels.masks.shape == labels.pixel_uncertainty.shape == (1, *size)
    assert labels.masks.max() < 3
    assert labels.pixel_uncertainty.min() >= 0
    assert labels.pixel_uncertainty.max() <= np.log(3) + 1e-6
    tenth = max(1, size[0] * size[1] // 10)
    assert labels.uncertainty[0] == pytest.approx(
        np.sort(labels.pixel_uncertainty, axis=None)[-tenth:].mean(), abs=1e-5
    )


@pytest.mark.parametrize("fit", FITS)
def test_at_the_models_own_size_every_fit_is_predict(interpreter, fit):
    image = noise(16, 16)
    exactly(FITS[fit](image, interpreter), interpreter.predict(image[None]))


@pytest.mark.parametrize("size", [(16, 12), (17, 12), (30, 50), (33, 41), (16, 200)])
@pytest.mark.parametrize("strip", [1, 3, 16])
def test_bands_and_strips_give_what_blending_at_once_gives(monkeypatch, size, strip):
    monkeypatch.setattr(any_size, "STRIP", strip)
    image, interpreter = noise(*size), of_colours(mean=True)
    same(any_size.tile(image, interpreter), labelled(blended_at_once(image, interpreter)))


def test_a_denoisers_tiles_give_what_blending_at_once_gives(interpreter):
    image = noise(50, 37)
    same(any_size.tile(image, interpreter), labelled(blended_at_once(image, interpreter)))


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((16, 12), (16, 12)),
        ((5, 5), (16, 12)),
        ((47, 91), (16, 12)),
        ((3, 40), (16, 12)),
        ((300, 13), (16, 12)),
        ((333, 500), (64, 64)),
        ((1024, 1024), (128, 128)),
    ],
)
def test_tiles_change_nothing_for_features_without_context(size, window):
    image, interpreter = noise(*size), of_colours(window)
    maps = [torch.from_numpy(image).permute(2, 0, 1).float() / 255]
    alone = FoldedClassifiers.of(interpreter.classifiers).scores(maps, size, "bilinear")
    labels = any_size.tile(image, interpreter)
    assert len(np.unique(labels.masks)) > 1, "the classifiers are of several opinions"
    same(labels, labelled(alone))


@pytest.mark.parametrize(("side", "window"), [(16, 16), (17, 16), (24, 16), (500, 64), (333, 64), (97, 15), (7, 1)])
def test_weights_add_up_to_one_and_fade_at_inner_borders(side, window):
    windows = any_size._windows(side, window)
    total = torch.zeros(side)
    for each in windows:
        total[each.start : each.start + window] += each.weights
    assert torch.allclose(total, torch.ones(side), atol=1e-6)
    for left, right in pairwise(windows):
        assert 0 < right.start - left.start <= max(1, window // 2)
    if window > 1:
        step = math.pi / window  # what a squared sine can rise by in one pixel
        assert all(each.weights[0] <= step for each in windows[1:])
        assert all(each.weights[-1] <= step for each in windows[:-1])


def test_there_is_no_seam_where_windows_disagree():
    """Every window has one score for all its pixels, so that all change between pixels comes from the blend."""
    image, interpreter = noise(16, 120), of_colours(mean=True)
    image[:, 30:60] //= 8
    windows = [next(interpreter.logits(image[None, :, left : left + 12])) for left in starts(120, 12)]
    disagreement = max((right - left).abs().max() for left, right in pairwise(windows))
    rows, columns = any_size._windows(16, 16), any_size._windows(120, 12)
    _, scores = next(any_size._bands(image, interpreter, rows, columns, range(120)))
    steps = (scores[:, :, 1:] - scores[:, :, :-1]).abs()
    assert disagreement > 0.5
    assert steps.max() < 0.3 * disagreement, "half a window lies between one opinion and the next"


def test_padding_keeps_proportions_and_repeats_edges(interpreter):
    image = noise(8, 16)
    labels = any_size.pad(image, interpreter)
    around = np.concatenate([np.repeat(image[:1], 4, 0), image, np.repeat(image[-1:], 4, 0)])
    whole = interpreter.predict(around[None])
    assert np.array_equal(labels.masks, whole.masks[:, 4:12])
    assert np.array_equal(labels.pixel_uncertainty, whole.pixel_uncertainty[:, 4:12])


def test_stretching_resizes_the_answer_back(interpreter):
    small = noise(16, 16)
    large = small.repeat(3, 0).repeat(3, 1)
    labels = any_size.stretch(large, interpreter)
    seen = any_size.resized(large, (16, 16), any_size.Resampling.BILINEAR)
    assert np.array_equal(labels.masks, interpreter.predict(seen[None]).masks.repeat(3, 1).repeat(3, 2))


def test_wide_images_are_labelled_in_strips_of_bounded_width():
    windows = any_size._windows(10_000, 64)
    strips = any_size._strips(windows, 10_000)
    assert [strip.start for strip in strips[1:]] == [strip.stop for strip in strips[:-1]]
    assert (strips[0].start, strips[-1].stop) == (0, 10_000)
    assert max(len(strip) for strip in strips) <= (any_size.STRIP + 1) / 2 * 64

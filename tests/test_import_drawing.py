"""From shapes to masks, beside the slow and obvious ways; and the names that images get."""

from pathlib import Path

import numpy as np
import pytest
from foreign import MASKS
from hypothesis import given, settings
from hypothesis import strategies as st

from label import AnnotationError
from pipelines.formats.drawing import Drawn, Shape, ellipse, inside, paint, patch, rectangle, runs
from pipelines.formats.picture import Contents, Opened, Picture, output_names

CENTRES = np.stack(np.meshgrid(np.arange(14) + 0.5, np.arange(11) + 0.5), axis=-1).reshape(-1, 2)
COORDINATES = st.floats(-6, 20, allow_nan=False).map(lambda x: round(x, 3) + 0.0001)  # through no centre of a pixel
POINTS = st.tuples(COORDINATES, COORDINATES)


@settings(max_examples=200, deadline=None)
@given(st.lists(POINTS, min_size=3, max_size=3))
def test_a_triangle_covers_the_pixels_whose_centre_is_inside(corners):
    edges = zip(corners, [*corners[1:], corners[0]], strict=True)
    across, down = CENTRES.T
    sides = np.array([(x1 - x0) * (down - y0) - (y1 - y0) * (across - x0) for (x0, y0), (x1, y1) in edges])
    slow = ((sides > 0).all(axis=0) | (sides < 0).all(axis=0)).reshape(11, 14)
    clear = (np.abs(sides) > 1e-6).all(axis=0).reshape(11, 14)  # not on a line
    assert np.array_equal(inside([corners], 11, 14)[clear], slow[clear])


@settings(max_examples=200, deadline=None)
@given(st.lists(POINTS, min_size=3, max_size=8))
def test_any_polygon_covers_the_pixels_from_which_a_ray_crosses_it_an_odd_number_of_times(ring):
    slow, clear = np.zeros(len(CENTRES), dtype=bool), np.ones(len(CENTRES), dtype=bool)
    for number, (x, y) in enumerate(CENTRES):
        for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
            if (y0 <= y) != (y1 <= y):
                crossing = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
                slow[number] ^= crossing <= x
                clear[number] &= abs(crossing - x) > 1e-6  # not on the line
    assert np.array_equal(inside([ring], 11, 14).ravel()[clear], slow[clear])


def test_a_second_ring_is_a_hole():
    mask = inside([[(1, 1), (9, 1), (9, 9), (1, 9)], [(3, 3), (6, 3), (6, 6), (3, 6)]], 11, 14)
    assert mask.sum() == 64 - 9
    assert not mask[3:6, 3:6].any()


@settings(max_examples=100, deadline=None)
@given(MASKS, st.integers(-14, 16), st.integers(-14, 16))
def test_a_patch_is_cut_at_the_sides_of_the_image(part, top, left):
    slow = np.zeros((11, 14), dtype=bool)
    for y, x in zip(*np.nonzero(part), strict=True):
        if 0 <= y + top < 11 and 0 <= x + left < 14:
            slow[y + top, x + left] = True
    assert np.array_equal(patch(part, top, left)(11, 14), slow)


def test_a_turned_ellipse_is_the_turned_mask():
    upright, turned = (ellipse((7, 7), (5, 2), degrees)(14, 14) for degrees in (0, 90))
    assert np.array_equal(np.rot90(upright), turned)
    assert upright.sum() == pytest.approx(np.pi * 10, rel=0.1)


def test_a_rectangle_turns_clockwise_as_it_is_seen():
    (x, y), *_ = rectangle((0, 0), (2, 1), 90, pivot=(0, 0))[1:]
    assert (round(x, 6), round(y, 6)) == (0, 2)


@pytest.mark.parametrize("counts", [[3], [5, 2], [-1, 7], []])
def test_run_lengths_of_another_size_are_refused(counts):
    with pytest.raises(AnnotationError, match="not of 6"):
        runs(counts, 2, 3)


def test_pixels_that_two_classes_claim_are_counted_and_those_of_one_class_are_not():
    whole = np.ones((2, 3), dtype=bool)
    left = np.array([[1, 0, 0], [1, 0, 0]], dtype=bool)
    shapes = [Shape(label, lambda _h, _w, mask=mask: mask) for label, mask in (("a", whole), ("a", left), ("b", left))]
    painted = paint(Drawn(shapes), {"a": 0, "b": 1}, (2, 3), unlabelled=255)
    assert painted.mask.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert painted.overlapping == 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a.png", "a.jpg", "A.png", "x/a.png", "y\\a.png", "a.mask.png", ".a.png", "a-0.png"])))
def test_every_image_has_a_name_of_its_own_that_is_no_masks_name(names):
    pictures = [Picture(name, name, lambda: Opened(np.zeros((1, 1, 3), np.uint8)), lambda: Drawn([])) for name in names]
    chosen = output_names(Contents(pictures, []).pictures)
    assert len({name.casefold() for name in chosen}) == len(names)
    assert not any(name.startswith(".") or Path(f"{name}.png").stem.endswith((".mask", "_mask")) for name in chosen)

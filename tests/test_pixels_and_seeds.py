import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from generate.pixels import to_model, to_pixels
from generate.seeds import draw, generator


def test_every_8_bit_value_survives_the_way_to_the_model_and_back():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    assert np.array_equal(to_pixels(to_model(image)), image)


def test_model_values_span_minus_one_to_one():
    ends = to_model(np.array([[[[0, 0, 0], [255, 255, 255]]]], dtype=np.uint8))
    assert (ends.min().item(), ends.max().item()) == (-1.0, 1.0)


def test_values_out_of_range_are_clamped():
    x = torch.tensor([-7.0, 7.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert to_pixels(x).tolist() == [[[[0, 0, 0], [255, 255, 255]]]]


@given(st.integers(0, 2**40), st.lists(st.integers(0, 2**40), min_size=1, max_size=4, unique=True))
def test_the_noise_of_a_seed_does_not_depend_on_its_neighbours(run_seed, seeds):
    together = draw([generator(run_seed, seed) for seed in seeds], (4,))
    alone = [draw([generator(run_seed, seed)], (4,))[0] for seed in seeds]
    assert torch.equal(together, torch.stack(alone))


def test_neighbouring_seeds_and_run_seeds_draw_different_noise():
    drawn = [draw([generator(run_seed, seed)], (8,)) for run_seed in (0, 1) for seed in (0, 1)]
    assert len({tuple(noise.flatten().tolist()) for noise in drawn}) == 4

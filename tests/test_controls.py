import numpy as np
import pytest
import torch

from generate import Denoiser
from label import DenoiserFeatures, FeatureSource, Interpreter, Scheme
from label.settings import Fitting
from pipelines.study.controls import RawPixels, untrained

RNG = np.random.default_rng(0)


def noise(count: int, height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def features_of(image: np.ndarray, row: int, column: int, window: int) -> list[float]:
    """What the features of a pixel are, the slow way: colours around it by channel, row and column; then its place."""
    height, width, _ = image.shape
    half, found = window // 2, []
    for channel in range(3):
        for down in range(-half, half + 1):
            for across in range(-half, half + 1):
                y, x = min(max(row + down, 0), height - 1), min(max(column + across, 0), width - 1)
                found.append(image[y, x, channel] / 127.5 - 1)
    return [*found, 2 * row / (height - 1) - 1, 2 * column / (width - 1) - 1]


@pytest.mark.parametrize(("height", "width", "window"), [(9, 12, 7), (3, 5, 7), (8, 8, 3), (4, 6, 1)])
def test_raw_pixels_are_the_colours_around_a_pixel_and_its_place(height: int, width: int, window: int) -> None:
    images, source = noise(2, height, width), RawPixels((height, width), window)
    expected = [[[features_of(i, y, x, window) for x in range(width)] for y in range(height)] for i in images]
    (found,) = source.maps(images)
    assert found.shape == (2, source.channels, height, width)
    assert source.channels == 3 * window**2 + 2
    np.testing.assert_allclose(found.permute(0, 2, 3, 1), expected, atol=1e-6)


def test_raw_pixels_are_a_feature_source_whose_digest_names_size_and_window() -> None:
    assert isinstance(RawPixels((4, 6)), FeatureSource)
    digests = {RawPixels(size, window).digest for size in ((4, 6), (6, 4)) for window in (3, 7)}
    assert len(digests) == 4
    assert RawPixels((4, 6)).digest == RawPixels((4, 6), 7).digest


def test_an_interpreter_of_raw_pixels_learns_classes_that_are_colours() -> None:
    masks = np.zeros((3, 16, 16), dtype=np.uint8)
    for i, mask in enumerate(masks):
        mask[4 * i : 4 * i + 7, 3:12] = 1
    images = np.where(masks[..., None] == 1, 200, 40).astype(np.uint8) + RNG.integers(0, 30, (3, 16, 16, 3), np.uint8)
    settings = Fitting(members=2, batch_size=64, max_epochs=5)
    scheme = Scheme(("ground", "square"))
    interpreter = Interpreter.fit(RawPixels((16, 16)), images, masks, classes=scheme, settings=settings)
    assert (interpreter.predict(images).masks == masks).mean() > 0.98


def weights(denoiser: Denoiser) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in denoiser.unet.state_dict().values()])


def test_an_untrained_unet_is_a_function_of_its_seed(tiny_denoiser: Denoiser) -> None:
    first = untrained(tiny_denoiser, 4)
    torch.rand(7)  # moves the global generator
    again, other = untrained(tiny_denoiser, 4), untrained(tiny_denoiser, 5)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert first.digest == again.digest
    assert len({first.digest, other.digest, tiny_denoiser.digest}) == 3


def test_making_an_untrained_unet_changes_neither_the_trained_one_nor_the_global_generator(
    tiny_denoiser: Denoiser,
) -> None:
    before, state = weights(tiny_denoiser).clone(), torch.get_rng_state()
    fresh = untrained(tiny_denoiser, 1)
    assert torch.equal(weights(tiny_denoiser), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(weights(fresh), before)


def test_an_untrained_unet_has_the_features_of_the_trained_one_by_number_and_size(tiny_denoiser: Denoiser) -> None:
    images = noise(2, 16, 16)
    trained, fresh = (
        DenoiserFeatures(denoiser, steps=[50, 150], blocks=[1, 3])
        for denoiser in (tiny_denoiser, untrained(tiny_denoiser, 1))
    )
    assert [m.shape for m in fresh.maps(images)] == [m.shape for m in trained.maps(images)]
    assert fresh.digest != trained.digest

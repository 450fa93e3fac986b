import numpy as np
import pytest
import torch

from generate import Denoiser
from label import DenoiserFeatures
from pipelines.quality.diversity import describe_images, precision_recall
from pipelines.study.controls import RawPixels

RNG = np.random.default_rng(0)


def points(count: int, channels: int = 5, *, at: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(at, 1, (count, channels))).float()


def share_inside(candidates: np.ndarray, members: np.ndarray) -> float:
    """Kynkaanniemi et al. (arXiv 1904.06991), equation 1, with loops: k = 3."""
    inside = 0
    for candidate in candidates:
        for i, member in enumerate(members):
            others = sorted(np.linalg.norm(member - other) for j, other in enumerate(members) if j != i)
            if np.linalg.norm(candidate - member) <= others[2]:
                inside += 1
                break
    return inside / len(candidates)


@pytest.mark.parametrize(("real", "made"), [(4, 4), (12, 9), (40, 30), (27, 60)])
def test_precision_and_recall_are_those_of_the_plain_loops(real: int, made: int) -> None:
    ours, theirs = points(real), points(made, at=0.7)
    found = precision_recall(ours, theirs)
    scale = ours.numpy().std(0, ddof=1)
    scaled, other = ours.double().numpy() / scale, theirs.double().numpy() / scale
    assert found.precision == pytest.approx(share_inside(other, scaled))
    assert found.recall == pytest.approx(share_inside(scaled, other))


@pytest.mark.parametrize("count", [4, 50])
def test_a_set_compared_with_itself_has_precision_and_recall_1(count: int) -> None:
    found = precision_recall(same := points(count), same.clone())
    assert (found.precision, found.recall) == (1, 1)


@pytest.mark.parametrize("count", [10, 60])
def test_copies_of_one_real_image_lie_among_the_real_ones_and_cover_that_one_alone(count: int) -> None:
    real = points(count)
    found = precision_recall(real, real[3].repeat(count, 1))
    assert found.precision == 1
    assert found.recall == 1 / count


def test_copies_of_an_image_that_is_not_among_the_real_ones_cover_none() -> None:
    assert precision_recall(points(60), points(1).repeat(60, 1)).recall == 0


def test_sets_far_apart_have_nothing_in_common() -> None:
    found = precision_recall(points(20), points(20, at=50))
    assert (found.precision, found.recall) == (0, 0)


def test_samples_of_one_of_two_kinds_of_images_cover_half_of_them() -> None:
    first, second = points(30), points(30, at=50)
    found = precision_recall(torch.cat([first, second]), first)
    assert (found.precision, found.recall) == (1, 0.5)


def test_the_unit_of_a_channel_decides_nothing() -> None:
    real, made = points(30), points(30, at=0.5)
    units = torch.tensor([1, 1000, 1e-3, 7, 1])
    scaled, plain = precision_recall(real * units, made * units), precision_recall(real, made)
    assert (scaled.precision, scaled.recall) == (plain.precision, plain.recall)


def test_sets_of_fewer_than_four_are_refused() -> None:
    with pytest.raises(ValueError, match="3 real images and 8 samples came; at least 4 of each are needed"):
        precision_recall(points(3), points(8))


def test_an_image_is_described_by_the_mean_of_every_channel_alone_or_among_others(tiny_denoiser: Denoiser) -> None:
    images = RNG.integers(0, 256, (23, 16, 16, 3), dtype=np.uint8)
    for source in (RawPixels((16, 16), 3), DenoiserFeatures(tiny_denoiser, steps=[50, 150], blocks=[1, 3])):
        found = describe_images(source, images)
        assert found.shape == (23, source.channels)
        for i in (0, 19, 20, 22):
            expected = [channel.mean() for native in source.maps(images[i : i + 1]) for channel in native[0]]
            torch.testing.assert_close(found[i], torch.stack(expected), rtol=1e-4, atol=1e-5)

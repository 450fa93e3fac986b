import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from generate.pixels import to_model
from label import DenoiserFeatures, MirroredFeatures
from label.pixel_source import PixelSource, nearest
from label.saved_sources import open_features

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


def test_maps_are_the_activations_at_each_step_in_turn(tiny_denoiser):
    features = DenoiserFeatures(tiny_denoiser, steps=[50, 200], blocks=[3, 1])
    expected = []
    for step in (50, 200):
        t = torch.full((3,), step)
        x_t = tiny_denoiser.add_noise(to_model(IMAGES), t, features.noise)
        expected += tiny_denoiser.activations(x_t, t, [3, 1])
    for native, wanted in zip(features.maps(IMAGES), expected, strict=True):
        torch.testing.assert_close(native, wanted, atol=1e-4, rtol=1e-4)


def test_every_image_is_given_the_same_noise(tiny_denoiser):
    features = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[3])
    together, alone = features.maps(IMAGES[[0, 0]])[0], features.maps(IMAGES[:1])[0]
    torch.testing.assert_close(together[0], together[1])
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
def test_gathered_pixels_are_those_of_the_upsampled_maps(tiny_denoiser, upsampling):
    features = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[0, 1, 2])
    source = PixelSource.of(features, IMAGES, upsampling=upsampling, batch_size=2)
    dense = torch.cat([F.interpolate(m, (16, 16), mode=upsampling) for m in features.maps(IMAGES)], dim=1)
    places = torch.cartesian_prod(torch.arange(3), torch.arange(16), torch.arange(16)).unbind(1)
    expected = dense.permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(source.gather(*places), expected, atol=5e-3, rtol=5e-3)  # kept in half precision
    assert source.channels == expected.shape[1]


def test_maps_beyond_the_budget_are_mapped_from_a_file_that_leaves_nothing_behind(tiny_denoiser, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    features = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[0, 3])
    held = PixelSource.of(features, IMAGES)
    within, mapped = (PixelSource.of(features, IMAGES, memory_budget=held.bytes - short) for short in (0, 1))
    for kept, in_memory, in_file in zip(held.maps, within.maps, mapped.maps, strict=True):
        assert torch.equal(kept, in_memory)
        assert torch.equal(kept, in_file)
        assert str(tmp_path) in mapping_of(in_file)
        assert str(tmp_path) not in mapping_of(in_memory)
    assert list(tmp_path.iterdir()) == []


def mapping_of(tensor: torch.Tensor) -> str:
    """The line of this process's memory map that the tensor lies in."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(address, 16) for address in line.split()[0].split("-"))
        if start <= tensor.data_ptr() < end:
            return line
    raise AssertionError("a tensor lies somewhere")


def test_maps_take_two_bytes_a_value(tiny_denoiser):
    features = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[0, 3])
    assert PixelSource.of(features, IMAGES).bytes == 2 * sum(m.numel() for m in features.maps(IMAGES))


@pytest.mark.parametrize(("native", "full"), [(6, 20), (7, 61), (10, 24), (24, 10)])
def test_nearest_rounds_as_torch_does_at_any_ratio(native, full):
    expected = F.interpolate(torch.arange(float(native)).view(1, 1, native), full, mode="nearest").view(full)
    assert torch.equal(nearest(torch.arange(full), native, full), expected.long())


@pytest.mark.parametrize("where", ["output", "input"])
def test_the_channels_are_those_of_the_maps(tiny_denoiser, where):
    features = DenoiserFeatures(tiny_denoiser, steps=[50, 200], blocks=[1, 2, 3], where=where)
    assert features.channels == sum(m.shape[1] for m in features.maps(IMAGES))


def test_the_digest_changes_with_whatever_changes_the_maps(tiny_denoiser):
    variants = [
        DenoiserFeatures(tiny_denoiser, blocks=[1]),
        DenoiserFeatures(tiny_denoiser, blocks=[2]),
        DenoiserFeatures(tiny_denoiser, blocks=[1], steps=[50]),
        DenoiserFeatures(tiny_denoiser, blocks=[1], where="input"),
        DenoiserFeatures(tiny_denoiser, blocks=[1], noise=torch.zeros(1, 3, 16, 16)),
    ]
    assert len({features.digest for features in variants}) == len(variants)
    assert DenoiserFeatures(tiny_denoiser, blocks=[1]).digest == variants[0].digest


def test_saved_features_are_the_same_again(tiny_denoiser, tmp_path):
    features = DenoiserFeatures(tiny_denoiser, steps=[10], blocks=[2], noise=torch.randn(1, 3, 16, 16))
    for folder in (tmp_path, str(tmp_path)):
        features.save_pretrained(folder)
        assert DenoiserFeatures.from_pretrained(folder, tiny_denoiser).digest == features.digest


def test_features_of_another_denoiser_are_refused(tiny_denoiser, tmp_path):
    DenoiserFeatures(tiny_denoiser, blocks=[1]).save_pretrained(tmp_path)
    tiny_denoiser.digest = "another"
    with pytest.raises(ValueError, match="was fitted on denoiser tiny, this one is another"):
        DenoiserFeatures.from_pretrained(tmp_path, tiny_denoiser)


@pytest.mark.parametrize("steps", [[], [1000], [-1]])
def test_a_step_that_the_denoiser_does_not_have_is_refused(tiny_denoiser, steps):
    with pytest.raises(ValueError, match="0 to 999 are possible"):
        DenoiserFeatures(tiny_denoiser, steps=steps, blocks=[1])


@pytest.mark.parametrize("blocks", [[], [4], [-1]])
def test_a_block_that_the_denoiser_does_not_have_is_refused(tiny_denoiser, blocks):
    with pytest.raises(ValueError, match="decoder has blocks 0 to 3"):
        DenoiserFeatures(tiny_denoiser, blocks=blocks)


def test_noise_of_another_size_is_refused(tiny_denoiser):
    with pytest.raises(ValueError, match=r"noise is \[1, 3, 8, 8\]"):
        DenoiserFeatures(tiny_denoiser, blocks=[1], noise=torch.zeros(1, 3, 8, 8))


def test_several_noises_give_the_mean_of_what_each_gives_alone(tiny_denoiser):
    several = DenoiserFeatures(tiny_denoiser, steps=[50, 200], blocks=[1, 3], noises=3)
    alone = [
        DenoiserFeatures(tiny_denoiser, steps=[50, 200], blocks=[1, 3], noise=several.noise[i : i + 1])
        for i in range(3)
    ]
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    plain = [torch.stack(maps).mean(0) for maps in zip(*(source.maps(images) for source in alone), strict=True)]
    for ours, expected in zip(several.maps(images), plain, strict=True):
        torch.testing.assert_close(ours, expected)
    assert torch.equal(alone[0].noise, DenoiserFeatures(tiny_denoiser, blocks=[1]).noise)
    assert len({source.digest for source in (several, *alone)}) == 4


def test_several_noises_are_saved_and_opened(tiny_denoiser, tmp_path):
    source = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[1], noises=2)
    source.save_pretrained(tmp_path)
    assert DenoiserFeatures.from_pretrained(tmp_path, tiny_denoiser).digest == source.digest


def test_mirrored_features_are_the_mean_with_what_the_mirrored_image_gives(tiny_denoiser, tmp_path):
    once = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[1, 3])
    mirrored = MirroredFeatures(once)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    turned = once.maps(np.stack([np.fliplr(image) for image in images]))
    for ours, seen, other in zip(mirrored.maps(images), once.maps(images), turned, strict=True):
        np.testing.assert_allclose(ours, (seen.numpy() + other.numpy()[..., ::-1]) / 2, atol=1e-6)
    of_mirrored = mirrored.maps(np.ascontiguousarray(images[:, :, ::-1]))
    for ours, other in zip(mirrored.maps(images), of_mirrored, strict=True):
        torch.testing.assert_close(ours.flip(-1), other)
    mirrored.save_pretrained(tmp_path)
    assert open_features(tmp_path, denoiser=tiny_denoiser).digest == mirrored.digest != once.digest

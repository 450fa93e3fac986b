import pytest
import torch
from torch.nn import functional as F

from label import tiles as tiles_module
from label.interpreter import decide
from label.pixel_classifiers import PixelClassifiers
from label.threads import torch_threads
from label.tiles import FoldedClassifiers

SIZES = {
    (24, 20): [(6, 5), (12, 10), (24, 20), (12, 10)],
    (40, 70): [(5, 9), (20, 35), (13, 33), (40, 70)],  # no whole ratios, and more than one tile each way
}
CHANNELS = [8, 5, 3, 4]


@pytest.fixture
def classifiers() -> PixelClassifiers:
    """Every weight and statistic away from where it starts, with scores of both signs."""
    made = PixelClassifiers(3, sum(CHANNELS), 6).eval()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in made.state_dict().items():
        low = 0.1 if name.endswith("running_var") else -0.3
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.6 + low)
    return made


def maps_of(size: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(c, *r, generator=generator) for c, r in zip(CHANNELS, SIZES[size], strict=True)]


def dense_scores(classifiers: PixelClassifiers, maps: list[torch.Tensor], size, upsampling) -> torch.Tensor:
    """Upsample and join all maps, then go through the layers one after the other."""
    features = torch.cat([F.interpolate(m[None], size, mode=upsampling)[0] for m in maps]).flatten(1).T
    with torch.no_grad():
        return classifiers(features.expand(3, -1, -1)).unflatten(1, size)


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("device_kind", ["cpu", "other"])
def test_tiles_of_projected_maps_equal_the_dense_way(classifiers, size, upsampling, device_kind, monkeypatch):
    if device_kind == "other":
        monkeypatch.setattr(tiles_module, "_TILES", {})
    maps = maps_of(size)
    expected = dense_scores(classifiers, maps, size, upsampling)
    found = FoldedClassifiers.of(classifiers).scores(maps, size, upsampling)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_cover_every_pixel_once(classifiers, threads):
    covered = torch.zeros(40, 70, dtype=torch.int)

    def count(tile):
        covered[tile.rows, tile.columns] += 1

    with torch_threads(threads):
        FoldedClassifiers.of(classifiers).tiles(maps_of((40, 70)), (40, 70), "bilinear").each(count)
        assert torch.get_num_threads() == threads
    assert (covered == 1).all()


def test_a_tile_has_the_same_bits_whatever_the_number_of_threads(classifiers):
    tiles = FoldedClassifiers.of(classifiers).tiles(maps_of((40, 70)), (40, 70), "bilinear")
    found = []
    for threads in (1, 3):
        whole = torch.zeros(3, 40, 70, 6)

        def keep(tile, whole=whole):
            whole[:, tile.rows, tile.columns] = tile.scores

        with torch_threads(threads):
            tiles.each(keep)
        found.append(whole)
    assert torch.equal(*found)


def test_what_a_tile_raises_is_raised_and_the_threads_are_as_before(classifiers):
    def fail(tile):
        raise ValueError(tile.rows.start)

    with torch_threads(2):
        with pytest.raises(ValueError, match="0"):
            FoldedClassifiers.of(classifiers).tiles(maps_of((40, 70)), (40, 70), "bilinear").each(fail)
        assert torch.get_num_threads() == 2


def test_bf16_scores_lead_to_nearly_the_same_labels(classifiers):
    size = (40, 70)
    exact, rounded = (
        FoldedClassifiers.of(classifiers, dtype).scores(maps_of(size), size, "bilinear")
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert rounded.dtype == torch.bfloat16
    assert (decide(exact)[0] == decide(rounded)[0]).float().mean() > 0.97
    assert (decide(exact)[1] - decide(rounded)[1]).abs().mean() < 0.01


def test_norms_are_folded_only_from_trained_members(classifiers):
    with pytest.raises(AssertionError, match="running statistics"):
        FoldedClassifiers.of(classifiers.train())

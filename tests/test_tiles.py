import threading

import pytest
import torch
from torch.nn import functional as F

from label import tiles as tiles_module
from label.pixel_classifiers import PixelClassifiers
from label.threads import one_thread_each, torch_threads
from label.tiles import FoldedClassifiers
from label.uncertainty import decide

SIZES = {
    (24, 20): [(6, 5), (12, 10), (24, 20), (12, 10)],
    (40, 70): [(5, 9), (20, 35), (13, 33), (40, 70)],  # no whole ratios, and more than one tile each way
}
CHANNELS = [8, 5, 3, 4]


@pytest.fixture
def classifiers() -> PixelClassifiers:
    """Every weight and statistic away from where it starts, with scores of both signs."""
    classifiers = PixelClassifiers(3, sum(CHANNELS), 6).eval()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in classifiers.state_dict().items():
        low = 0.1 if name.endswith("running_var") else -0.3
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.6 + low)
    return classifiers


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
    scores = FoldedClassifiers.of(classifiers).scores(maps, size, upsampling)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "resolutions", [[(24, 20)] * 4, [(12, 10)] * 4], ids=["of the image's size", "of another size"]
)
def test_maps_of_one_resolution_alone_equal_the_dense_way(classifiers, resolutions):
    maps = [torch.randn(c, *r) for c, r in zip(CHANNELS, resolutions, strict=True)]
    scores = FoldedClassifiers.of(classifiers).scores(maps, (24, 20), "bilinear")
    torch.testing.assert_close(scores, dense_scores(classifiers, maps, (24, 20), "bilinear"), atol=1e-5, rtol=1e-5)


def labelled(classifiers: PixelClassifiers):
    return FoldedClassifiers.of(classifiers).tiles(maps_of((40, 70)), (40, 70), "bilinear")


@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_cover_every_pixel_once(classifiers, threads):
    covered = torch.zeros(40, 70, dtype=torch.int)
    with torch_threads(threads):
        for tile in labelled(classifiers):
            covered[tile.place] += 1
        assert torch.get_num_threads() == threads
    assert (covered == 1).all()


def test_tiles_have_the_labels_of_all_scores(classifiers):
    mask, uncertainty = decide(FoldedClassifiers.of(classifiers).scores(maps_of((40, 70)), (40, 70), "bilinear"))
    for tile in labelled(classifiers):
        assert torch.equal(tile.mask, mask[tile.place])
        torch.testing.assert_close(tile.uncertainty, uncertainty[tile.place])


def test_tiles_have_the_same_bits_whatever_the_number_of_threads(classifiers):
    with torch_threads(1):
        alone = list(labelled(classifiers))
    with torch_threads(3):
        together = list(labelled(classifiers))
    for tile, same in zip(alone, together, strict=True):
        assert tile.place == same.place
        assert torch.equal(tile.mask, same.mask)
        assert torch.equal(tile.uncertainty, same.uncertainty)


def test_scores_have_the_same_bits_whatever_the_number_of_threads(classifiers):
    scores = []
    for threads in (1, 3):
        with torch_threads(threads):
            scores.append(FoldedClassifiers.of(classifiers).scores(maps_of((40, 70)), (40, 70), "bilinear"))
    assert torch.equal(*scores)


def test_more_items_than_are_handed_out_at_once_come_in_their_order_from_several_threads():
    def thread_of(item):
        return item, threading.get_ident()

    with torch_threads(3):
        items, threads = zip(*one_thread_each(thread_of, range(1000)), strict=True)
    assert items == tuple(range(1000))
    assert threading.get_ident() not in threads


def test_no_more_items_are_handed_out_than_a_few_before_results_are_taken():
    begun = []
    with torch_threads(2):
        results = one_thread_each(begun.append, range(1000))
        for _ in range(100):
            next(results)
        assert len(begun) < 200
        del results
        assert torch.get_num_threads() == 2


def test_what_a_tile_raises_is_raised_and_the_threads_are_as_before(classifiers, monkeypatch):
    def fail(scores):
        raise ValueError("no labels")

    monkeypatch.setattr(tiles_module, "decide", fail)
    with torch_threads(2):
        with pytest.raises(ValueError, match="no labels"):
            list(labelled(classifiers))
        assert torch.get_num_threads() == 2


def test_tiles_may_be_left_early_and_the_threads_are_as_before(classifiers):
    with torch_threads(2):
        for _ in labelled(classifiers):
            break
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

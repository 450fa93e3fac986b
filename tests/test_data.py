from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from making import begun, commit

from label import Scheme
from pipelines.dataset.shards import Sample
from pipelines.errors import DatasetError
from pipelines.training.data import Part, batched, shard_data

SCHEME = Scheme(("ground", "square", "dot"))
WHOLE = Part(batch_size=4)


def dataset(folder: Path, *, maps: bool = True) -> Path:
    """Shards of 4, 8 and 10 samples, of uncertainty seed / 100; the red of each image is its seed."""
    rng = np.random.default_rng(0)
    begun(folder, SCHEME)
    for unit, seeds in enumerate((range(4), range(4, 12), range(12, 22))):
        samples = []
        for seed in seeds:
            image, doubt = np.full((8, 8, 3), seed, dtype=np.uint8), np.full((8, 8), seed / 30, dtype=np.float32)
            mask = rng.integers(0, 3, (8, 8), dtype=np.uint8)
            samples.append(Sample(seed, image, mask, seed / 100, {}, doubt if maps else None))
        commit(folder, unit, samples, SCHEME)
    return folder


def order(folder: Path, count: int, *, seed: int = 0, start: int = 0, part: Part = WHOLE) -> list[tuple[int, int]]:
    """Number and seed of the first samples."""
    pairs = shard_data(folder).pairs(seed, start, part)
    return [(number, int(image[0, 0, 0])) for number, (image, _) in islice(pairs, count)]


def test_every_epoch_has_each_sample_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    seeds = [seed for _, seed in order(dataset(tmp_path), 44)]
    assert sorted(seeds[:22]) == sorted(seeds[22:]) == list(range(22))
    assert seeds[:22] != seeds[22:]


def test_the_order_is_a_function_of_the_seed(tmp_path: Path) -> None:
    dataset(tmp_path)
    assert order(tmp_path, 30) == order(tmp_path, 30)
    assert order(tmp_path, 30) != order(tmp_path, 30, seed=1)


@pytest.mark.parametrize("start", [5, 22, 37])
def test_a_start_in_the_middle_goes_on_as_if_there_had_been_no_break(tmp_path: Path, start: int) -> None:
    dataset(tmp_path)
    assert order(tmp_path, 10, start=start) == order(tmp_path, start + 10)[start:]


@pytest.mark.parametrize("workers", [2, 4])
def test_parts_of_several_workers_together_are_the_batches_of_one(tmp_path: Path, workers: int) -> None:
    dataset(tmp_path)
    parts = [order(tmp_path, 24 // workers, part=Part(4, rank, workers)) for rank in range(workers)]
    assert {len(part) for part in parts} == {24 // workers}
    size = 4 // workers
    batches = [[s for part in parts for s in part[b * size : (b + 1) * size]] for b in range(6)]
    assert [sample for batch in batches for sample in batch] == order(tmp_path, 24)


def test_keep_takes_the_most_certain_share_of_the_whole_dataset(tmp_path: Path) -> None:
    data = shard_data(dataset(tmp_path), keep=0.5)
    assert data.seeds == frozenset(range(11))
    assert sorted(int(image[0, 0, 0]) for _, (image, _) in islice(data.pairs(0, 0, WHOLE), 11)) == list(range(11))


def test_a_share_that_is_a_whole_number_of_samples_is_that_number(tmp_path: Path) -> None:
    assert len(shard_data(dataset(tmp_path), keep=0.1 * 3).seeds) == 7  # 6.6, rounded up


def test_pixels_above_the_uncertainty_are_ignored(tmp_path: Path) -> None:
    data = shard_data(dataset(tmp_path), ignore_above=0.35)
    for _, (image, mask) in islice(data.pairs(0, 0, WHOLE), 22):
        assert (mask == 255).all() == (image[0, 0, 0] > 10)
        assert (mask == 255).any() == (image[0, 0, 0] > 10)


def test_ignoring_uncertain_pixels_needs_their_uncertainty(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"train.ignore_above needs the uncertainty of pixels"):
        shard_data(dataset(tmp_path, maps=False), ignore_above=0.3)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("cut", "shard-000001.tar has .* bytes, its report says"),
        ("flipped", "shard-000001.tar is not what was written: its sha256 differs"),
        ("gone", "shard-000001.tar is missing, its report is there"),
    ],
)
def test_a_corrupt_shard_is_named_before_the_start_or_left_out_and_counted(
    tmp_path: Path, damage: str, sentence: str
) -> None:
    path = dataset(tmp_path) / "shard-000001.tar"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content[:-1024] if damage == "cut" else content)
    if damage == "gone":
        path.unlink()
    with pytest.raises(DatasetError, match=sentence):
        shard_data(tmp_path)
    data = shard_data(tmp_path, corrupt="skip")
    assert len(data.skipped) == 1
    seeds = [int(image[0, 0, 0]) for _, (image, _) in islice(data.pairs(0, 0, WHOLE), 28)]
    assert sorted(seeds[:14]) == sorted(seeds[14:]) == [*range(4), *range(12, 22)]


def test_opening_a_dataset_lists_its_folder_and_reads_every_file_once(tmp_path: Path, traffic: Counter[str]) -> None:
    dataset(tmp_path)
    traffic.clear()
    shard_data(tmp_path, ignore_above=0.3)
    traffic["shard-000000.tar"] -= 1  # for a look whether it holds maps
    units = [f"shard-00000{unit}.{suffix}" for unit in range(3) for suffix in ("json", "tar")]
    assert {name: traffic[name] for name in ("list", *units)} == dict.fromkeys(("list", *units), 1)


def test_an_empty_folder_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no dataset.json"):
        shard_data(tmp_path)


def test_a_dataset_without_shards_is_said_so(tmp_path: Path) -> None:
    for path in dataset(tmp_path).glob("shard-*"):
        path.unlink()
    with pytest.raises(DatasetError, match="holds no shards with samples"):
        shard_data(tmp_path)


def test_class_pixels_are_those_of_the_samples_that_are_seen(tmp_path: Path) -> None:
    data = shard_data(dataset(tmp_path), keep=0.5)
    masks = np.stack([mask for _, (_, mask) in islice(data.pairs(0, 0, WHOLE), 11)])
    assert data.class_pixels == np.bincount(masks.ravel(), minlength=3).tolist()


def test_a_rest_that_fills_no_batch_is_left_out() -> None:
    pair = np.zeros((2, 2, 3), dtype=np.uint8), np.zeros((2, 2), dtype=np.uint8)
    assert [len(images) for images, _ in batched([pair] * 7, 3)] == [3, 3]


@pytest.mark.parametrize("memory", [300, 3000, 10**6])  # none, some and all of 22 samples of 256 bytes
def test_samples_that_stay_decoded_change_nothing(tmp_path: Path, memory: int) -> None:
    dataset(tmp_path)
    stay, fresh = (shard_data(tmp_path, ignore_above=0.5, memory=m).pairs(3, 0, WHOLE) for m in (memory, 0))
    for (number, (image, mask)), (other, pair) in islice(zip(stay, fresh, strict=True), 66):
        assert number == other
        assert np.array_equal(image, pair[0])
        assert np.array_equal(mask, pair[1])


@pytest.mark.parametrize("memory", [0, 10**6])
def test_a_shard_is_read_again_only_where_its_samples_did_not_stay_decoded(tmp_path: Path, memory: int) -> None:
    data = shard_data(dataset(tmp_path), memory=memory)
    epochs = data.pairs(0, 0, WHOLE)
    assert len(list(islice(epochs, 22 * 3))) == 66
    for tar in tmp_path.glob("*.tar"):
        tar.unlink()
    if memory:
        assert len(list(islice(data.pairs(0, 0, WHOLE), 44))) == 44
    else:
        with pytest.raises(FileNotFoundError):
            next(data.pairs(0, 0, WHOLE))

import io
import tarfile
from typing import Any

import numpy as np
import pytest
from making import begun
from PIL import Image

from label import Scheme
from pipelines import read_shards, write_shard
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import Dataset, claim, open_dataset
from pipelines.dataset.reports import Candidate, reports
from pipelines.dataset.shards import Sample, checked_shards, decode, pack, records, stored_size
from pipelines.errors import DatasetError

SCHEME = Scheme(("ground", "thing", "other"))


def make_sample(seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)
    mask = rng.integers(0, 3, (8, 6), dtype=np.uint8)
    mask[0, 0] = 255
    return Sample(seed, image, mask, 0.25, {"solver": "ddim"}, rng.uniform(0, np.log(3), (8, 6)).astype(np.float32))


def commit(folder, unit: int, seeds: range):
    candidates = [Candidate(seed, True, 0.25, [1, 2, 3]) for seed in seeds]
    candidates.append(Candidate(seeds.stop, False, 0.9, [4, 5, 6]))
    return write_shard(folder, unit, "digest", pack(map(make_sample, seeds), SCHEME), candidates, {"sample": 1.0})


@pytest.fixture
def folder(tmp_path):
    """A dataset of two shards with three samples each."""
    begun(tmp_path, SCHEME)
    for unit in (0, 1):
        commit(tmp_path, unit, range(4 * unit, 4 * unit + 3))
    return tmp_path


def test_what_is_read_is_what_was_written(folder):
    for read, written in zip(read_shards(folder), map(make_sample, (0, 1, 2, 4, 5, 6)), strict=True):
        assert np.array_equal(read.image, written.image)
        assert np.array_equal(read.mask, written.mask)
        assert (read.seed, read.uncertainty, read.provenance) == (written.seed, 0.25, {"solver": "ddim"})
        assert read.pixel_uncertainty is not None
        assert written.pixel_uncertainty is not None
        assert np.abs(read.pixel_uncertainty - written.pixel_uncertainty).max() <= np.log(3) / 255


def test_a_folder_may_be_named_as_text(folder):
    assert [sample.seed for sample in read_shards(str(folder))] == [0, 1, 2, 4, 5, 6]


def test_a_map_that_is_not_wanted_is_not_decoded(folder):
    record = next(records([folder / "shard-000000.tar"]))
    whole, bare = decode(record), decode(record | {"uncertainty.png": b"no picture"}, pixel_uncertainty=False)
    assert whole.pixel_uncertainty is not None
    assert bare.pixel_uncertainty is None
    assert (bare.seed, bare.uncertainty, bare.provenance) == (whole.seed, whole.uncertainty, whole.provenance)
    assert np.array_equal(bare.image, whole.image)
    assert np.array_equal(bare.mask, whole.mask)


def test_records_are_those_of_the_named_tars_in_their_order_still_compressed(folder):
    read = list(records([folder / "shard-000001.tar", folder / "shard-000000.tar"]))
    assert [int(record["__key__"]) for record in read] == [4, 5, 6, 0, 1, 2]
    assert read[0]["png"].startswith(b"\x89PNG")


def test_every_process_of_a_training_reads_all_samples(folder, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert [sample.seed for sample in read_shards(folder)] == [0, 1, 2, 4, 5, 6]


def test_the_size_of_the_images_is_height_and_width(folder):
    assert stored_size(folder) == (8, 6)


def test_the_same_samples_in_any_order_give_the_same_bytes():
    samples = [make_sample(seed) for seed in range(5)]
    assert pack(samples, SCHEME) == pack(reversed(samples), SCHEME)


def test_nothing_in_a_tar_depends_on_time_or_user(folder):
    with tarfile.open(folder / "shard-000000.tar") as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert members[0].name == "000000000000.json"


def test_plain_tar_opens_a_shard(folder):
    with tarfile.open(folder / "shard-000001.tar") as tar:
        member = tar.extractfile("000000000004.mask.png")
        assert member is not None
        mask = Image.open(io.BytesIO(member.read()))
    assert mask.mode == "L"
    assert np.array_equal(np.asarray(mask), make_sample(4).mask)


def test_webdataset_opens_a_shard(folder):
    import webdataset as wds

    dataset = wds.WebDataset(str(folder / "shard-000000.tar"), shardshuffle=False).decode("pil")  # type: ignore[attr-defined]
    records = list(dataset)
    assert [record["__key__"] for record in records] == [f"{seed:012d}" for seed in range(3)]
    assert np.array_equal(np.asarray(records[1]["png"]), make_sample(1).image)
    assert np.array_equal(np.asarray(records[1]["mask.png"])[..., 0], make_sample(1).mask)
    assert records[1]["json"]["class_pixels"] == np.bincount(make_sample(1).mask.ravel(), minlength=256)[:3].tolist()


def test_hugging_face_datasets_opens_the_shards(folder, tmp_path):
    import datasets

    loaded: Any = datasets.load_dataset(
        "webdataset", data_files=str(folder / "*.tar"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [row["__key__"] for row in loaded] == [f"{seed:012d}" for seed in (0, 1, 2, 4, 5, 6)]
    assert np.array_equal(np.asarray(loaded[0]["png"]), make_sample(0).image)
    assert np.array_equal(np.asarray(loaded[0]["mask.png"]), make_sample(0).mask)


def test_a_report_is_the_commit_marker(folder):
    (folder / "shard-000001.json").unlink()
    assert take_inventory(folder).committed == {0}
    assert [sample.seed for sample in read_shards(folder)] == [0, 1, 2]


def test_no_temporary_file_is_left(folder):
    assert {path.name for path in folder.iterdir()} == {
        "dataset.json",
        *(f"shard-00000{unit}.{suffix}" for unit in (0, 1) for suffix in ("tar", "json")),
    }


def test_a_report_counts_what_was_kept_and_what_was_dropped(folder):
    report = reports(folder)[0]
    assert report.counts == {"kept": 3, "dropped": 1}
    assert report.bytes == (folder / "shard-000000.tar").stat().st_size


def test_a_shard_cut_at_a_members_border_is_not_read_in_silence(folder):
    path = folder / "shard-000000.tar"
    with tarfile.open(path) as tar:
        border = tar.getmembers()[4].offset
    path.write_bytes(path.read_bytes()[:border])
    with pytest.raises(DatasetError, match=r"shard-000000\.tar is missing or not as long as its report says"):
        list(read_shards(folder))


def test_a_folder_of_another_dataset_is_refused(folder):
    other = Dataset(**{**vars(open_dataset(folder)), "digest": "another"})
    with pytest.raises(
        DatasetError, match=r"another recipe, model or file .* name another output folder, or remove that one"
    ):
        claim(folder, other)


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no dataset\.json"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="holds no shards"):
        checked_shards(take_inventory(tmp_path))


@pytest.mark.parametrize("content", [b'{"unit": 3}', b"3", b"\xff{}", b'{"candidates": [{"seed'])
def test_a_report_that_is_no_report_is_refused(folder, content):
    (folder / "shard-000000.json").write_bytes(content)
    with pytest.raises(DatasetError, match="is no report of a shard"):
        reports(folder)

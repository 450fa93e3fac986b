import io
import json
import tarfile
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from label import Scheme
from pipelines import read_shards, write_shard
from pipelines.dataset.index import write_index
from pipelines.dataset.manifest import Dataset, claim, open_dataset
from pipelines.dataset.reports import Candidate, committed_units, reports
from pipelines.dataset.shards import Sample, checked_shards, pack, stream
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
    dataset = Dataset("digest", list(SCHEME.names), [list(c) for c in SCHEME.colors], {}, "denoiser", "interpreter", {})
    claim(tmp_path, dataset)
    for unit in (0, 1):
        commit(tmp_path, unit, range(4 * unit, 4 * unit + 3))
    return tmp_path


def test_what_is_read_is_what_was_written(folder):
    for found, written in zip(read_shards(folder), map(make_sample, (0, 1, 2, 4, 5, 6)), strict=True):
        assert np.array_equal(found.image, written.image)
        assert np.array_equal(found.mask, written.mask)
        assert (found.seed, found.uncertainty, found.provenance) == (written.seed, 0.25, {"solver": "ddim"})
        assert found.pixel_uncertainty is not None
        assert written.pixel_uncertainty is not None
        assert np.abs(found.pixel_uncertainty - written.pixel_uncertainty).max() <= np.log(3) / 255


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
    assert committed_units(folder) == {0}
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
        checked_shards(tmp_path)


def test_a_report_that_is_no_report_is_refused(folder):
    (folder / "shard-000000.json").write_text('{"unit": 3}')
    with pytest.raises(DatasetError, match="is no report of a shard"):
        reports(folder)


def test_the_stream_shows_every_sample_once_an_epoch(folder):
    samples = stream(folder, seed=0)
    epochs = [[next(samples).seed for _ in range(6)] for _ in range(3)]
    assert all(sorted(epoch) == [0, 1, 2, 4, 5, 6] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_stream_is_a_function_of_its_seed(folder):
    def first(seed: int) -> list[int]:
        samples = stream(folder, seed=seed)
        return [next(samples).seed for _ in range(12)]

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_the_index_has_a_row_for_every_candidate(folder):
    rows = pq.read_table(write_index(folder)).to_pylist()
    assert [row["seed"] for row in rows] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [row["seed"] for row in rows if not row["kept"]] == [3, 7]
    assert rows[0]["shard"] == "shard-000000.tar"
    assert json.loads(json.dumps(rows[0]["class_pixels"])) == [1, 2, 3]

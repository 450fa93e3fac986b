"""What every export does, whatever the format: which samples, which split, once, by several processes, after a kill."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import content
from exporting import make_dataset, random_masks
from forked import Forked
from PIL import Image

from label import Scheme
from pipelines.dataset.shards import read_shards
from pipelines.errors import DatasetError, LeaseError
from pipelines.files.lease import leased
from pipelines.files.storage import write_whole
from pipelines.formats import making
from pipelines.formats.choice import parse_split, split_of
from pipelines.formats.out import FORMATS, export
from pipelines.stopping import Stopped

Command = Callable[..., str]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight samples in three shards."""
    return make_dataset(tmp_path_factory.mktemp("set") / "dataset", random_masks(8))


def files(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): found for path, found in content(folder).items()}


def seeds_in(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.png"))


def test_images_and_masks_in_folders_are_the_samples(dataset: Path, tmp_path: Path) -> None:
    outcome = export(dataset, tmp_path / "out.v1", "folders", workers=1)
    assert outcome.clause == "8 labelled images as folders"
    for sample in read_shards(dataset):
        for kind, expected in (("images", sample.image), ("masks", sample.mask)):
            with Image.open(tmp_path / "out.v1" / kind / "train" / f"{sample.seed:012d}.png") as picture:
                assert np.array_equal(np.asarray(picture), expected)
    assert Scheme.load(tmp_path / "out.v1" / "scheme.toml").names == ("background", "hair, long", "Müll eimer")


def test_a_condition_on_the_index_chooses_the_samples(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path / "out", "folders", where='uncertainty < 0.045 and share["hair, long"] > 0', workers=1)
    assert seeds_in(tmp_path / "out" / "images" / "train") == [0, 1, 2, 3, 4]


def test_a_split_is_the_seeds_own_and_whole(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path / "all", "folders", split="0.6,0.4", workers=1)
    export(dataset, tmp_path / "few", "folders", split="0.6,0.4", where="seed > 2", workers=1)
    train, val = (set(seeds_in(tmp_path / "all" / "images" / split)) for split in ("train", "val"))
    assert train | val == set(range(8))
    assert not train & val
    assert set(seeds_in(tmp_path / "few" / "images" / "train")) == {seed for seed in train if seed > 2}


def test_a_splits_shares_are_met() -> None:
    drawn = [split_of(seed, (0.7, 0.2, 0.1)) for seed in range(5000)]
    assert [round(drawn.count(split) / 5000, 1) for split in ("train", "val", "test")] == [0.7, 0.2, 0.1]


@pytest.mark.parametrize("text", ["0.9,0.2", "a,b", "", "0.5,-0.5,1", "0.25,0.25,0.25,0.25", "nan,1", "1,0", ","])
def test_a_split_that_is_none_is_refused(text: str) -> None:
    if not text:
        assert parse_split(text) == (1.0,)
        return
    with pytest.raises(DatasetError, match="is no division; give two or three shares that add up to 1"):
        parse_split(text)


REFUSED = {
    "the format 'coca' is unknown; known: folders, coco": {"format_name": "coca"},
    "uncertain` is not known; write one as": {"where": "uncertain < 0.2"},
    "it is no expression that can be read": {"where": "uncertainty <"},
    "holds no kept sample of which 'seed > 99' is true": {"where": "seed > 99"},
    "--split 2 is no division": {"split": "2"},
    "--split leaves val without any of 8 samples": {"split": "0.9999,0.0001"},
    "the format yolo has no instances; leave out --instances, or use coco, coco-panoptic": {
        "format_name": "yolo",
        "instances": True,
    },
    "the format cvat is one list to be corrected": {"format_name": "cvat", "split": "0.5,0.5"},
    "--without sky is no class of the dataset; its classes: background, hair, long": {"without": ("sky",)},
    "an npz is one file of all samples; leave out --split, --where": {
        "format_name": "npz",
        "split": "0.5,0.5",
        "where": "seed > 1",
    },
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_exported_is_one_sentence_and_nothing_is_written(
    dataset: Path, tmp_path: Path, sentence: str
) -> None:
    with pytest.raises(DatasetError) as raised:
        export(dataset, tmp_path / "out", **{"format_name": "folders", **REFUSED[sentence]})
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_library_that_is_missing_is_one_sentence_with_its_pip_line(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"needs pycocotools and cv2, .* `pip install 'datasetddpm\[coco\]'`"):
        export(dataset, tmp_path / "out", "coco")


def test_another_machines_place_is_refused(dataset: Path) -> None:
    with pytest.raises(DatasetError, match="is no place on this machine; export to a folder"):
        export(dataset, "s3://bucket/out", "folders")


def test_what_is_there_is_found_and_something_else_is_never_overwritten(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path / "out", "folders", workers=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert not export(dataset, tmp_path / "out", "folders", workers=1).fresh
    with pytest.raises(DatasetError, match="is there already, and is not this export"):
        export(dataset, tmp_path / "out", "voc", workers=1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_two_exports_into_one_place_do_not_mix(dataset: Path, tmp_path: Path) -> None:
    with leased(tmp_path / "out", beside=True), pytest.raises(LeaseError, match="is one where"):
        export(dataset, tmp_path / "out", "folders", workers=1)


def test_a_class_that_is_left_out_is_ignored(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path / "out", "folders", without=("background",), workers=1)
    for sample in read_shards(dataset):
        with Image.open(tmp_path / "out" / "masks" / "train" / f"{sample.seed:012d}.png") as mask:
            assert np.array_equal(np.asarray(mask), np.where(sample.mask == 0, 255, sample.mask))


@pytest.mark.parametrize("name", FORMATS)
def test_killed_anywhere_and_run_again_the_bytes_are_the_same(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In a shard, whose files are half there, and when the shards are done but not what is of all of them."""
    export(dataset, tmp_path / "whole" / "out", name, workers=1)
    for kill in ("shard", "finish"):
        place = tmp_path / kill / "out"
        with monkeypatch.context() as patch:
            if kill == "shard":
                patch.setattr(making, "write_whole", _dying_at(2, KeyboardInterrupt()))
            else:
                patch.setattr("pipelines.formats.parts.os.sync", _dying_at(1, KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                export(dataset, place, name, workers=1)
        assert not place.exists()
        export(dataset, place, name, workers=1)
        assert files(place) == files(tmp_path / "whole" / "out")
        assert [path.name for path in place.parent.iterdir()] == ["out"]


def _dying_at(call: int, end: BaseException) -> Callable[..., None]:
    """What writes a file whole, or syncs, until this call of it."""
    calls = iter(range(1, 100))

    def write(*given: Any) -> None:
        if next(calls) == call:
            raise end
        write_whole(*given)

    return write


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(
    dataset: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["export", dataset, "--format", "voc", "--out", tmp_path / "out", "--workers", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(making, "write_whole", _dying_at(2, Stopped(signal.SIGINT)))
        said = command(*line, code=130).splitlines()[-1]
    (part,) = tmp_path.glob("out.part-*")
    assert said == (
        "datasetddpm: stopped by Ctrl-C; export was at 3 of 8 images; "
        f"what is done is kept in {part}; the same command goes on"
    )
    assert "made 8 labelled images as voc" in command(*line)


def test_a_file_that_a_power_cut_emptied_is_written_again(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path / "whole", "folders", workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.formats.parts.os.sync", _dying_at(1, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            export(dataset, tmp_path / "cut", "folders", workers=1)
    (part,) = tmp_path.glob("cut.part-*")
    (part / "images" / "train" / f"{4:012d}.png").write_bytes(b"")
    export(dataset, tmp_path / "cut", "folders", workers=1)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_two_processes_write_what_one_does_and_survive_a_kill(tmp_path: Path, command: Command) -> None:
    dataset = make_dataset(tmp_path / "set", random_masks(60, shape=(60, 60)), of_a_shard=2)
    said = command("export", dataset, "--format", "coco", "--out", tmp_path / "one", "--instances", "--workers", "1")
    assert "export: made 60 labelled images as coco in" in said
    line = ["export", dataset, "--format", "coco", "--out", tmp_path / "two", "--instances", "--workers", "2"]
    process = Forked(*line)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("two.part-*/.pieces/*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.kill() == -signal.SIGKILL
    assert not (tmp_path / "two").exists()
    again = Forked(*line)
    assert again.wait() == 0, again.said
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_the_record_says_what_was_exported(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path / "out", "voc", split="0.5,0.5", where="seed < 9", workers=1)
    record = json.loads((tmp_path / "out" / ".export.json").read_text())
    assert (record["format"], record["split"], record["where"]) == ("voc", [0.5, 0.5], "seed < 9")
    assert record["dataset"] == "digest"


def test_without_a_format_the_command_lists_all(dataset: Path, tmp_path: Path, command: Command) -> None:
    said = command("export", dataset, "--format", "x", "--out", tmp_path / "out", code=2)
    assert ", ".join([*FORMATS, "npz"]) in said
    assert os.listdir(tmp_path) == []

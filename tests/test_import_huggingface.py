"""Datasets of Hugging Face's, as its own library saves them."""

import io

import datasets
import numpy as np
import pytest
from foreign import brought_in, classes, mask_of, photograph
from PIL import Image

RNG = np.random.default_rng(0)
MASKS = [RNG.choice(np.array([0, 1, 2, 255], np.uint8), (12, 16)) for _ in range(3)]


@pytest.fixture
def rows(tmp_path):
    """Three rows of images with their masks; the first image came from a file, and has its name."""
    first = photograph(tmp_path / "photos" / "Grün, 1.png")
    images = [str(first), *(Image.fromarray(RNG.integers(0, 256, (12, 16, 3), np.uint8)) for _ in range(2))]
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    content = {"image": images, "mask": [Image.fromarray(mask) for mask in MASKS]}
    return datasets.Dataset.from_dict(content, features=features)


def same(folder) -> None:
    found = [mask_of(folder, path.name.removesuffix(".mask.png")) for path in folder.glob("*.mask.png")]
    assert sorted(mask.tobytes() for mask in found) == sorted(mask.tobytes() for mask in MASKS)
    assert classes(folder) == ["class 0", "class 1", "class 2"]


def test_a_saved_dataset_comes_in_pixel_for_pixel(rows, tmp_path):
    rows.save_to_disk(str(tmp_path / "saved"))
    masks = brought_in("huggingface", tmp_path / "saved", tmp_path / "out")
    assert len(masks) == 3
    assert {"0001", "0002"} < set(masks)
    same(tmp_path / "out")


def test_parquet_files_come_in_and_a_split_is_named(rows, tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        rows.to_parquet(str(tmp_path / "data" / f"{split}-00000-of-00001.parquet"))
    brought_in("huggingface", tmp_path / "data", tmp_path / "out", options={"split": "test"})
    same(tmp_path / "out")


def test_columns_of_other_names_are_named(rows, tmp_path):
    columns = rows.rename_columns({"image": "x", "mask": "y"})
    datasets.DatasetDict({"train": columns}).save_to_disk(str(tmp_path / "saved"))
    brought_in("huggingface", tmp_path / "saved", tmp_path / "out", options={"columns": "x,y"})
    same(tmp_path / "out")


def test_a_dataset_of_the_hub_is_opened_by_its_id(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", {"someone/faces": rows}.__getitem__)
    brought_in("huggingface", "someone/faces", tmp_path / "out")
    same(tmp_path / "out")


def test_an_image_that_lies_on_its_side_is_upright_with_a_mask_as_it_is_stored(tmp_path):
    photograph(tmp_path / "a.jpg", 16, 12, orientation=6)
    mask = np.zeros((12, 16), np.uint8)
    mask[:, :4] = 1
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    content = {"image": [str(tmp_path / "a.jpg")], "label": [{"bytes": buffer.getvalue(), "path": None}]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    datasets.Dataset.from_dict(content, features=features).save_to_disk(str(tmp_path / "saved"))
    (read,) = brought_in("huggingface", tmp_path / "saved", tmp_path / "out").values()
    assert np.array_equal(read == "class 1", np.rot90(mask, -1) == 1)

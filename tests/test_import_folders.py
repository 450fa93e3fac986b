"""Folders of masks: Pascal VOC and mmsegmentation, colours, YOLO's texts, one binary mask a class."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import supervision as sv
from foreign import MASKS, brought_in, classes, photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from label import Scheme

IDS = hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 20, 255]))


def save(mask: np.ndarray, path: Path, *, palette: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask.astype(np.uint8) * 255 if mask.dtype == bool else mask)
    if palette:
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    image.save(path)
    return path


@settings(max_examples=30, deadline=None)
@given(IDS)
def test_a_palette_png_of_vocs_comes_in_by_its_indices_and_255_is_ignored(mask):
    mask[0, :2] = 0, 20
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photograph(folder / "JPEGImages" / "2007_000032.jpg", 7, 6)
        save(mask, folder / "SegmentationClass" / "2007_000032.png", palette=True)
        (read,) = brought_in("voc", folder, folder / "out").values()
    names = {0: "background", 1: "aeroplane", 2: "bicycle", 20: "tvmonitor", 255: "ignore"}
    assert np.array_equal(read, np.vectorize(names.get, otypes=[object])(mask))


def test_folders_as_mmsegmentation_has_them_are_numbered_without_a_scheme(tmp_path):
    mask = np.arange(192, dtype=np.uint8).reshape(12, 16) // 64
    for split in ("train", "val"):
        photograph(tmp_path / "img_dir" / split / f"{split}.jpg")
        save(mask, tmp_path / "ann_dir" / split / f"{split}.png")
    masks = brought_in("voc", tmp_path, tmp_path / "out")
    assert list(masks) == ["train", "val"]
    assert classes(tmp_path / "out") == ["class 0", "class 1", "class 2"]


def test_void_may_be_a_class_and_a_scheme_names_the_numbers(tmp_path):
    mask = np.array([[0, 1, 255]], np.uint8).repeat(4, 0).repeat(4, 1)
    photograph(tmp_path / "images" / "a.png", 12, 4)
    save(mask, tmp_path / "masks" / "a.png")
    (tmp_path / "s.toml").write_text('classes = ["sky", "tree"]')
    (read,) = brought_in("voc", tmp_path, tmp_path / "out", scheme=tmp_path / "s.toml", unlabelled="sky").values()
    assert read[0, [0, 4, 8]].tolist() == ["sky", "tree", "sky"]


def test_255_classes_come_in(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    photograph(tmp_path / "images" / "a.png", 16, 16)
    save(mask, tmp_path / "masks" / "a.png")
    (read,) = brought_in("voc", tmp_path, tmp_path / "out").values()
    assert read.ravel().tolist() == [*(f"class {number}" for number in range(255)), "ignore"]


@pytest.mark.parametrize("table", ["scheme", "csv"])
def test_colours_are_classes_by_a_scheme_or_a_csv_and_transparency_is_ignored(tmp_path, table):
    pixels = np.zeros((12, 16, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[:, :4, :3], pixels[:, 12:] = (255, 0, 10), 0
    photograph(tmp_path / "in" / "images" / "a b,ü.png")
    (tmp_path / "in" / "masks").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "masks" / "a b,ü.png")
    scheme = tmp_path / "s.toml"
    scheme.write_text('classes = [{ name = "road", color = [0, 0, 0] }, { name = "car", color = [255, 0, 10] }]')
    (tmp_path / "in" / "class_dict.csv").write_text("name, r, g, b\nroad, 0, 0, 0\ncar, 255, 0, 10\n")
    given_scheme = scheme if table == "scheme" else None
    masks = brought_in("colours", tmp_path / "in", tmp_path / "out", scheme=given_scheme)
    assert masks["a b,ü"][0, [0, 8, 15]].tolist() == ["car", "road", "ignore"]
    assert Scheme.load(tmp_path / "out" / "scheme.toml").colors == ((0, 0, 0), (255, 0, 10))


def yolo(folder: Path, lines: str, names: str = "{0: cat, 1: dog}") -> Path:
    photograph(folder / "images" / "train" / "a.jpg", 32, 24)
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "labels" / "train" / "a.txt").write_text(lines)
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nnames: {names}\n")
    return folder


def test_yolo_polygons_are_shares_of_the_sides_with_their_outline(tmp_path):
    yolo(tmp_path, "1 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5\n0 0 0 0.125 0 0.125 0.125 0 0.125\n")
    (read,) = brought_in("yolo", tmp_path, tmp_path / "out").values()
    assert (read[6:13, 8:17] == "dog").all()
    assert [(read == name).sum() for name in ("dog", "cat")] == [63, 20]


def test_what_supervision_writes_as_yolo_comes_in_as_supervision_reads_it(tmp_path):
    masks = np.zeros((2, 48, 64), bool)
    masks[0, 4:30, 5:40] = masks[1, 34:44, 20:60] = True
    masks[0, 10:20, 30:40] = False
    image = str(photograph(tmp_path / "photos" / "a.png", 64, 48))
    detections = sv.Detections(xyxy=sv.mask_to_xyxy(masks), mask=masks, class_id=np.array([0, 1]))
    dataset = sv.DetectionDataset(["cat", "dog"], [image], {image: detections})
    places = [str(tmp_path / "yolo" / name) for name in ("images", "labels", "data.yaml")]
    dataset.as_yolo(places[0], places[1], places[2])
    (read,) = brought_in("yolo", tmp_path / "yolo", tmp_path / "out").values()
    (_, _, again) = next(iter(sv.DetectionDataset.from_yolo(places[0], places[1], places[2], force_masks=True)))
    assert again.mask is not None
    for number, name in enumerate(("cat", "dog")):
        assert np.array_equal(read == name, np.asarray(again.mask)[number])
        assert np.array_equal(read == name, masks[number])


def test_an_empty_text_of_yolo_is_all_background_and_an_image_without_is_left_out(tmp_path, capsys):
    yolo(tmp_path, "1 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5\n", "[cat, dog]")
    photograph(tmp_path / "images" / "train" / "b.jpg")
    photograph(tmp_path / "images" / "train" / "c.jpg")
    (tmp_path / "labels" / "train" / "b.txt").touch()
    masks = brought_in("yolo", tmp_path, tmp_path / "out")
    assert list(masks) == ["a", "b"]
    assert (masks["b"] == "background").all()
    assert "images without a text are left out: 1, c.jpg first" in capsys.readouterr().out


@settings(max_examples=30, deadline=None)
@given(MASKS, st.sampled_from(["{label}/{stem}", "{stem}_{label}", "{stem}.{label}"]), st.sampled_from([1, 255]))
def test_a_binary_mask_for_each_class_comes_in_pixel_for_pixel(mask, name, white):
    mask[0, :2] = True, False
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photograph(folder / "images" / "a.b.jpg", mask.shape[1], mask.shape[0])
        for label, part in (("cat", mask), ("dog", ~mask)):
            path = folder / "masks" / f"{name.format(stem='a.b', label=label)}.png"
            save(part.astype(np.uint8) * np.uint8(white), path)
        (read,) = brought_in("binary", folder, folder / "out").values()
    assert np.array_equal(read, np.where(mask, "cat", "dog"))


def test_of_overlapping_binary_masks_the_later_class_wins_and_the_rest_is_background(tmp_path, capsys):
    left, middle = np.zeros((12, 16), bool), np.zeros((12, 16), bool)
    left[:, :8], middle[:, 4:12] = True, True
    photograph(tmp_path / "images" / "a.png")
    save(left, tmp_path / "dog" / "a.png")
    save(middle, tmp_path / "cat" / "a.png")
    order = tmp_path / "s.toml"
    for names, winner in (('["background", "cat", "dog"]', "dog"), ('["background", "dog", "cat"]', "cat")):
        order.write_text(f"classes = {names}")
        (read,) = brought_in("binary", tmp_path, tmp_path / f".{winner}", scheme=order).values()
        assert read[0, [0, 5, 10, 15]].tolist() == ["dog", winner, "cat", "background"]
        assert "the later one wins" in capsys.readouterr().out

"""COCO's JSON, against pycocotools: its own masks of polygons and run lengths."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
from foreign import MASKS, brought_in, classes, mask_of, photograph
from hypothesis import given, settings
from pycocotools import mask as coco
from pycocotools.coco import COCO

SIZE = {"width": 16, "height": 12}


def rle(mask: np.ndarray) -> Any:
    stored: Any = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": stored["size"], "counts": stored["counts"].decode()}


def counted(mask: np.ndarray) -> dict:
    """Uncompressed, as crowds are written: lengths down the columns, the first of pixels outside."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def written(folder: Path, annotations: list[dict], names: tuple[str, ...] = ("cat", "dog"), **size: int) -> Path:
    """One image and its annotations; ids begin at 1, as COCO's do."""
    size = size or SIZE
    photograph(folder / "images" / "a.png", size["width"], size["height"])
    rows = [
        {"id": number, "image_id": 1, "iscrowd": 0, "category_id": 1, **annotation}
        for number, annotation in enumerate(annotations, 1)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", **size}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
        "annotations": rows,
    }
    path = folder / "coco.json"
    path.write_text(json.dumps(content), "utf-8")
    return path


def test_polygons_are_drawn_as_pycocotools_draws_them(tmp_path):
    polygons = [[1.2, 1.0, 13.7, 2.1, 9.9, 10.4, 3.3, 8.0], [0, 9, 4, 9, 4, 12, 0, 12]]
    path = written(tmp_path, [{"segmentation": polygons}])
    api = COCO(path)
    expected = api.annToMask(api.loadAnns([1])[0]).astype(bool)
    (mask,) = brought_in("coco", path, tmp_path / "out").values()
    assert np.array_equal(mask == "cat", expected)
    assert 40 < expected.sum() < 120


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_any_region_comes_in_pixel_for_pixel_from_both_kinds_of_run_lengths(region):
    height, width = region.shape
    region[0, 0] = not region[0, 1]  # so that there is a region, and a rest
    for encode in (rle, counted):
        with tempfile.TemporaryDirectory() as folder:
            path = written(Path(folder), [{"segmentation": encode(region)}], width=width, height=height)
            (mask,) = brought_in("coco", path, Path(folder) / "out").values()
        assert np.array_equal(mask == "cat", region)


def test_category_ids_begin_anywhere_and_class_ids_at_0(tmp_path):
    left, right = np.zeros((12, 16), bool), np.zeros((12, 16), bool)
    left[:, :4], right[:, 12:] = True, True
    path = written(tmp_path, [{"segmentation": rle(left), "category_id": 90}, {"segmentation": rle(right)}])
    content = json.loads(path.read_text())
    content["categories"] = [{"id": 90, "name": "dog"}, {"id": 1, "name": "cat"}]
    path.write_text(json.dumps(content))
    brought_in("coco", path, tmp_path / "out")
    assert classes(tmp_path / "out") == ["background", "cat", "dog"]
    assert mask_of(tmp_path / "out", "a")[0, [0, 8, 15]].tolist() == [2, 0, 1]


def test_a_category_0_is_a_class_as_any_other(tmp_path):
    path = written(tmp_path, [{"segmentation": rle(np.eye(12, 16, dtype=bool)), "category_id": 0}])
    content = json.loads(path.read_text())
    content["categories"] = [{"id": 0, "name": "line"}]
    path.write_text(json.dumps(content))
    (mask,) = brought_in("coco", path, tmp_path / "out").values()
    assert np.array_equal(mask == "line", np.eye(12, 16, dtype=bool))


def test_a_crowd_lies_below_single_things_wherever_it_stands(tmp_path):
    whole, thing = np.ones((12, 16), bool), np.zeros((12, 16), bool)
    thing[2:5, 2:5] = True
    annotations = [
        {"segmentation": rle(thing), "category_id": 2},
        {"segmentation": counted(whole), "category_id": 1, "iscrowd": 1},
    ]
    (mask,) = brought_in("coco", written(tmp_path, annotations), tmp_path / "out").values()
    assert np.array_equal(mask == "dog", thing)
    assert np.array_equal(mask == "cat", ~thing)


def test_what_supervision_writes_comes_in_as_pycocotools_draws_it(tmp_path):
    photograph(tmp_path / "images" / "a.png", 64, 48)
    masks = np.zeros((2, 48, 64), bool)
    masks[0, 4:30, 5:40], masks[1, 34:44, 20:60] = True, True
    detections = sv.Detections(xyxy=sv.mask_to_xyxy(masks), mask=masks, class_id=np.array([0, 1]))
    image, path = str(tmp_path / "images" / "a.png"), tmp_path / "annotations.json"
    sv.DetectionDataset(["cat", "dog"], [image], {image: detections}).as_coco(annotations_path=str(path))
    (mask,) = brought_in("coco", path, tmp_path / "out").values()
    api = COCO(path)
    for name, annotation in zip(("cat", "dog"), api.loadAnns(api.getAnnIds()), strict=True):
        assert np.array_equal(mask == name, api.annToMask(annotation).astype(bool))
    assert (mask == "cat").sum() == 25 * 34, "a polygon through the centres of pixels, less half a pixel on each side"


def test_images_and_annotations_without_a_region_are_told_and_left_out(tmp_path, capsys):
    region = np.eye(12, 16, dtype=bool)
    path = written(tmp_path, [{"segmentation": rle(region)}, {"segmentation": []}])
    content = json.loads(path.read_text())
    content["images"].append({"id": 2, "file_name": "b.png", **SIZE})
    path.write_text(json.dumps(content))
    assert list(brought_in("coco", path, tmp_path / "out")) == ["a"]
    said = capsys.readouterr().out
    assert "annotations without a segmentation are left out: 1" in said
    assert "images without an annotation are left out: 1, b.png first" in said


def test_a_folder_is_read_by_its_only_json(tmp_path):
    (tmp_path / "annotations").mkdir()
    written(tmp_path, [{"segmentation": rle(np.eye(12, 16, dtype=bool))}]).rename(
        tmp_path / "annotations" / "train.json"
    )
    assert list(brought_in("coco", tmp_path, tmp_path / "out")) == ["a"]


def test_a_photograph_on_its_side_may_be_drawn_on_as_it_is_stored(tmp_path):
    left = np.zeros((12, 16), bool)
    left[:, :3] = True
    path = written(tmp_path, [{"segmentation": rle(left)}])
    photograph(tmp_path / "images" / "a.jpg", 16, 12, orientation=6)
    path.write_text(path.read_text().replace("a.png", "a.jpg"))
    (tmp_path / "images" / "a.png").unlink()
    mask = brought_in("coco", path, tmp_path / "out")["a"]
    assert mask.shape == (16, 12)
    assert np.array_equal(mask == "cat", np.rot90(left, -1))

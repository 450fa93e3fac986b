"""Label Studio's JSON, with brush strokes as its own converter packs them."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from foreign import MASKS, brought_in, photograph
from hypothesis import given, settings
from label_studio_sdk.converter import brush
from PIL import Image


def stroke(mask: np.ndarray, label: str, name: str = "r1", **more: object) -> dict:
    """As the labelling page stores it."""
    height, width = mask.shape
    value = {"format": "rle", "rle": brush.mask2rle(mask.astype(np.uint8) * 255), "brushlabels": [label]}
    sides = {"original_width": width, "original_height": height, "image_rotation": 0}
    return {"id": name, "type": "brushlabels", "from_name": "tag", "to_name": "image", "value": value, **sides, **more}


def region(kind: str, label: str, name: str = "r1", **value: object) -> dict:
    sides = {"original_width": 20, "original_height": 10, "image_rotation": 0}
    return {"id": name, "type": f"{kind}labels", "value": {**value, f"{kind}labels": [label]}, **sides}


def task(results: list[dict], image: str = "/data/upload/1/0123abcd-a.png", number: int = 1, **more: object) -> dict:
    annotation = {"id": 7, "was_cancelled": False, "result": results}
    return {"id": number, "data": {"image": image}, "annotations": [annotation], **more}


def written(folder: Path, *tasks: dict) -> Path:
    path = folder / "export.json"
    path.write_text(json.dumps(tasks), "utf-8")
    return path


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_any_brush_stroke_comes_in_pixel_for_pixel(mask):
    mask[0, :2] = True, False
    with tempfile.TemporaryDirectory() as folder:
        photograph(Path(folder) / "a.png", mask.shape[1], mask.shape[0])
        path = written(Path(folder), task([stroke(mask, "cat")]))
        (read,) = brought_in("label-studio", path, Path(folder) / "out", unlabelled="background").values()
    assert np.array_equal(read == "cat", mask)


def test_what_the_sdk_makes_of_a_mask_comes_in(tmp_path):
    photograph(tmp_path / "a.png")
    mask = np.eye(12, 16, dtype=bool)
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    annotation = brush.image2annotation(str(tmp_path / "mask.png"), "line", "tag", "image")
    (tmp_path / "mask.png").unlink()
    path = written(tmp_path, {"id": 3, "data": {"image": "a.png"}, "annotations": [annotation]})
    (read,) = brought_in("label-studio", path, tmp_path / "out", unlabelled="background").values()
    assert np.array_equal(read == "line", mask)


def test_pixels_that_nobody_painted_are_ignored(tmp_path):
    photograph(tmp_path / "a.png")
    left, right = np.zeros((12, 16), bool), np.zeros((12, 16), bool)
    left[:, :3], right[:, 12:] = True, True
    path = written(tmp_path, task([stroke(left, "cat"), stroke(right, "dog", "r2")]))
    (read,) = brought_in("label-studio", path, tmp_path / "out").values()
    assert read[0, [0, 8, 15]].tolist() == ["cat", "ignore", "dog"]


def test_polygons_rectangles_and_ellipses_are_per_cent_of_the_sides(tmp_path):
    photograph(tmp_path / "a.png", 20, 10)
    results = [
        region("polygon", "p", points=[[0, 0], [20, 0], [20, 40], [0, 40]], closed=True),
        region("rectangle", "r", "r2", x=50, y=0, width=25, height=50, rotation=0),
        region("ellipse", "e", "r3", x=85, y=70, radiusX=10, radiusY=20, rotation=0),
    ]
    (read,) = brought_in("label-studio", written(tmp_path, task(results)), tmp_path / "out").values()
    assert [(read == name).sum() for name in "pre"] == [16, 25, 12]
    assert (read[:4, :4] == "p").all()
    assert (read[:5, 10:15] == "r").all()
    assert (read[6:8, 15:19] == "e").all()


def test_a_turned_rectangle_turns_around_its_first_corner(tmp_path):
    photograph(tmp_path / "a.png", 20, 10)
    results = [
        region("rectangle", "r", x=50, y=0, width=25, height=20, rotation=90),  # 5 wide and 2 high before
        region("rectangle", "s", "r2", x=0, y=0, width=5, height=10),
    ]
    (read,) = brought_in("label-studio", written(tmp_path, task(results)), tmp_path / "out").values()
    assert (read[:5, 8:10] == "r").all()
    assert (read == "r").sum() == 10


@pytest.mark.parametrize(
    "place",
    [
        "/data/upload/1/0123abcd-M%C3%BCller%2C%201.png",
        "/data/local-files/?d=photos/M%C3%BCller,%201.png",
        "https://example.org/x/M%C3%BCller,%201.png?token=3",
        "s3://bucket/photos/Müller, 1.png",
    ],
)
def test_an_image_is_found_by_its_name_in_whatever_url(tmp_path, place):
    photograph(tmp_path / "Müller, 1.png")
    path = written(tmp_path, task([stroke(np.eye(12, 16, dtype=bool), "cat")], place))
    assert list(brought_in("label-studio", path, tmp_path / "out", unlabelled="background")) == ["Müller, 1"]


def test_cancelled_annotations_and_tasks_without_one_are_left_out(tmp_path, capsys):
    photograph(tmp_path / "a.png")
    mask = np.eye(12, 16, dtype=bool)
    kept = task([stroke(mask, "cat")])
    cancelled = {"id": 6, "was_cancelled": True, "result": [stroke(~mask, "dog")]}
    kept["annotations"] = [cancelled, *kept["annotations"], {"id": 8, "result": [stroke(~mask, "cat")]}]
    tasks = [kept, task([], number=2), {"id": 3, "data": {"image": "a.png"}, "annotations": [cancelled]}]
    (read,) = brought_in("label-studio", written(tmp_path, *tasks), tmp_path / "out", unlabelled="background").values()
    assert np.array_equal(read == "cat", mask)
    said = capsys.readouterr().out
    assert "tasks without an annotation are left out: 2" in said
    assert "tasks with several annotations, of which the first is read: 1" in said


def test_a_region_whose_label_is_a_result_of_its_own_is_read_once(tmp_path):
    """With <Brush> and <Labels>, one region is two results of one id."""
    photograph(tmp_path / "a.png")
    labels = stroke(np.eye(12, 16, dtype=bool), "cat")
    labels["type"], labels["value"]["labels"] = "labels", labels["value"].pop("brushlabels")
    bare = {**labels, "type": "brush", "value": {k: v for k, v in labels["value"].items() if k != "labels"}}
    path = written(tmp_path, task([bare, labels]))
    (read,) = brought_in("label-studio", path, tmp_path / "out", unlabelled="background").values()
    assert np.array_equal(read == "cat", np.eye(12, 16, dtype=bool))

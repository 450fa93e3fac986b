"""LabelMe's JSON, against masks of LabelMe's own code and its own file (golden/labelme_like, of LabelMe 6.3.1)."""

import base64
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from foreign import MASKS, brought_in, classes, labels_of, mask_of, photograph
from hypothesis import given, settings
from PIL import Image

from generate import read_image
from label import load_annotations

GOLDEN = Path(__file__).parent / "golden"


def shape(label: str, points: Sequence[Sequence[float]], kind: str = "polygon", **more: object) -> dict[str, object]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def drawn(path: Path, *shapes: dict[str, object], size: tuple[int, int] = (16, 12), **more: object) -> Path:
    """LabelMe's file of the image of that path."""
    content = {"version": "6.3.1", "flags": {}, "shapes": shapes, "imagePath": path.name, "imageData": None}
    content |= {"imageWidth": size[0], "imageHeight": size[1], **more}
    path.with_suffix(".json").write_text(json.dumps(content), "utf-8")
    return path


def encoded(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_all_shapes_become_the_mask_that_labelmes_own_code_draws(tmp_path):
    shutil.copy(GOLDEN / "labelme_like.json", tmp_path)
    expected = np.load(GOLDEN / "labelme_like.npz")
    (mask,) = brought_in("labelme", tmp_path, tmp_path / "out").values()
    names = np.where(expected["names"] == "_background_", "background", expected["names"])
    assert np.array_equal(mask, names[expected["mask"]].astype(object))


def test_what_comes_out_is_read_by_fit(tmp_path):
    drawn(photograph(tmp_path / "in" / "a.png"), shape("cat", [[2, 2], [9, 2], [9, 8]]))
    brought_in("labelme", tmp_path / "in", tmp_path / "out")
    few = load_annotations(tmp_path / "out", (12, 16))
    assert (few.names, few.scheme.names) == (["a"], ("background", "cat"))
    assert np.array_equal(few.images[0], read_image(tmp_path / "in" / "a.png"))


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_any_region_comes_in_pixel_for_pixel(region):
    height, width = region.shape
    with tempfile.TemporaryDirectory() as folder:
        box = [[0, 0], [width - 1, height - 1]]
        image = photograph(Path(folder) / "in" / "a.png", width, height)
        drawn(image, shape("thing", box, "mask", mask=encoded(region)), size=(width, height))
        rest = photograph(Path(folder) / "in" / "b.png")
        drawn(rest, shape("thing", [[0, 0], [3, 3]], "rectangle"))
        masks = brought_in("labelme", Path(folder) / "in", Path(folder) / "out")
    assert np.array_equal(masks["a"] == "thing", region)


def test_the_later_shape_wins_and_it_is_said_once(tmp_path, capsys):
    for name in ("a", "b"):
        square, inner = [[0, 0], [9, 9]], [[2, 2], [5, 5]]
        drawn(photograph(tmp_path / f"{name}.png"), shape("x", square, "rectangle"), shape("y", inner, "rectangle"))
    masks = brought_in("labelme", tmp_path, tmp_path / "out")
    assert (masks["a"][2:6, 2:6] == "y").all()
    assert (masks["a"] == "x").sum() == 84
    said = capsys.readouterr().out
    assert said.count("overlap in a.json and 1 more; the later one wins") == 1


def test_regions_of_one_class_that_touch_do_not_overlap(tmp_path, capsys):
    drawn(photograph(tmp_path / "a.png"), *[shape("x", [[x, 0], [x + 4, 9]], "rectangle") for x in (0, 4)])
    brought_in("labelme", tmp_path, tmp_path / "out")
    assert "overlap" not in capsys.readouterr().out


def test_unlabelled_pixels_are_background_or_what_the_flag_says(tmp_path):
    image = photograph(tmp_path / "in" / "a.png")
    drawn(image, *(shape(name, [[x, 0], [x + 2, 2]], "rectangle") for name, x in (("cat", 0), ("dog", 8))))
    masks = {
        flag: brought_in("labelme", tmp_path / "in", tmp_path / str(flag), unlabelled=flag)["a"][11, 15]
        for flag in (None, "ignore", "dog")
    }
    assert masks == {None: "background", "ignore": "ignore", "dog": "dog"}
    assert [classes(tmp_path / flag) for flag in ("None", "ignore", "dog")] == [
        ["background", "cat", "dog"],
        ["cat", "dog"],
        ["cat", "dog"],
    ]


def test_labelmes_own_names_for_background_and_for_ignored_pixels_are_known(tmp_path):
    image = photograph(tmp_path / "a.png")
    regions = [("_background_", 0), ("__ignore__", 4), ("cat", 8)]
    drawn(image, *(shape(name, [[x, 0], [x + 1, 1]], "rectangle") for name, x in regions))
    mask = brought_in("labelme", tmp_path, tmp_path / "out")["a"]
    assert mask[0, [0, 4, 8, 15]].tolist() == ["_background_", "ignore", "cat", "_background_"]


def test_a_scheme_keeps_its_ids_and_its_classes_without_pixels(tmp_path):
    drawn(photograph(tmp_path / "in" / "a.png"), shape("cat", [[0, 0], [3, 3]], "rectangle"))
    scheme = tmp_path / "scheme.toml"
    scheme.write_text('classes = ["dog", "Background", "cat"]')
    brought_in("labelme", tmp_path / "in", tmp_path / "out", scheme=scheme)
    assert np.unique(mask_of(tmp_path / "out", "a")).tolist() == [1, 2]
    assert classes(tmp_path / "out") == ["dog", "Background", "cat"]


def test_a_scheme_that_lies_in_the_folder_already_is_taken(tmp_path):
    drawn(photograph(tmp_path / "in" / "a.png"), shape("cat", [[0, 0], [3, 3]], "rectangle"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scheme.toml").write_text('classes = ["cat", "background", "dog"]')
    brought_in("labelme", tmp_path / "in", tmp_path / "out")
    assert classes(tmp_path / "out") == ["cat", "background", "dog"]


def test_a_photograph_that_lies_on_its_side_is_upright_with_its_drawing(tmp_path):
    photograph(tmp_path / "a.jpg", 16, 12, orientation=6)  # upright it is 12 wide and 16 high, as LabelMe shows it
    drawn(tmp_path / "a.jpg", shape("top", [[0, 0], [11, 3]], "rectangle"), size=(12, 16))
    mask = brought_in("labelme", tmp_path, tmp_path / "out")["a"]
    assert mask.shape == read_image(tmp_path / "out" / "a.png").shape[:2] == (16, 12)
    assert (mask[:4] == "top").all()
    assert (mask[4:] == "background").all()


def test_a_drawing_on_the_stored_pixels_is_turned_with_them(tmp_path):
    photograph(tmp_path / "a.jpg", 16, 12, orientation=6)  # its stored left side is the top
    drawn(tmp_path / "a.jpg", shape("top", [[0, 0], [3, 11]], "rectangle"), size=(16, 12))
    mask = brought_in("labelme", tmp_path, tmp_path / "out")["a"]
    assert (mask[:4] == "top").all()
    assert (mask[4:] == "background").all()


def test_an_image_is_found_in_the_json_beside_it_or_in_the_folder_that_is_named(tmp_path):
    path = photograph(tmp_path / "photos" / "a.png")
    (tmp_path / "in").mkdir()
    region = shape("cat", [[0, 0], [3, 3]], "rectangle")
    data = base64.b64encode(path.read_bytes()).decode()
    drawn(tmp_path / "in" / "b.png", region, imagePath="gone.png", imageData=data)
    drawn(tmp_path / "in" / "a.png", region, imagePath="C:\\photos\\a.png")
    masks = brought_in("labelme", tmp_path / "in", tmp_path / "out", images=tmp_path / "photos")
    assert list(masks) == ["a", "gone"]


def test_names_with_dots_spaces_umlauts_and_commas_are_kept(tmp_path):
    names = ["a.b.c", "ein Bild", "Grün, größer", "face_mask", "x.mask"]
    for name in names:
        path = photograph(tmp_path / "in" / f"{name}.png")
        drawn(path, shape("cat", [[0, 0], [3, 3]], "rectangle"))
        path.with_suffix(".json").rename(path.with_name(f"{name}.json"))
    masks = brought_in("labelme", tmp_path / "in", tmp_path / "out")
    assert set(masks) == {"a.b.c", "ein Bild", "Grün, größer", "face-mask", "x-mask"}
    assert set(load_annotations(tmp_path / "out", (12, 16)).names) == set(masks)


def test_two_images_of_one_stem_both_come_in(tmp_path):
    for place in ("a.png", "left/a.png", "left/b.png", "left/b.jpg"):
        path = photograph(tmp_path / "in" / place)
        drawn(path, shape("cat", [[0, 0], [3, 3]], "rectangle"))
        path.with_suffix(".json").rename(path.with_name(f"{path.name}.json"))
    masks = brought_in("labelme", tmp_path / "in", tmp_path / "out")
    assert len(masks) == 4
    assert {"b-jpg", "b-png"} <= set(masks)
    assert len(load_annotations(tmp_path / "out", (12, 16)).names) == 4


def test_lines_and_points_have_no_area_and_are_told(tmp_path, capsys):
    path = photograph(tmp_path / "a.png")
    drawn(path, shape("cat", [[0, 0], [3, 3]], "rectangle"), shape("cat", [[0, 0], [9, 9]], "line"))
    brought_in("labelme", tmp_path, tmp_path / "out")
    assert "1 shapes without area are left out: line" in capsys.readouterr().out
    assert (labels_of(tmp_path / "out", "a") == "cat").sum() == 16

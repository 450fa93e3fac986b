"""CVAT for images 1.1, and Segmentation mask 1.1."""

import tempfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from foreign import MASKS, brought_in, classes, mask_of, photograph
from hypothesis import given, settings
from PIL import Image, ImageDraw

PALETTE = {"background": (0, 0, 0), "cat": (250, 50, 83), "Öl: neu": (61, 61, 245)}


def element(tag: str, label: str = "cat", **attributes: object) -> str:
    rest = " ".join(f"{name}={quoteattr(str(value))}" for name, value in attributes.items())
    return f'<{tag} label={quoteattr(label)} source="manual" occluded="0" {rest}></{tag}>'


def written(folder: Path, *shapes: str, image: str = "a.png", width: int = 16, height: int = 12) -> Path:
    """As CVAT's export has it, in which labels stand in the job's meta data."""
    labels = "".join(f"<label><name>{name}</name><color>#fa3253</color></label>" for name in ("cat", "dog"))
    path = folder / "annotations.xml"
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
        f"<meta><job><id>1</id><labels>{labels}</labels></job></meta>"
        f'<image id="0" name={quoteattr(image)} width="{width}" height="{height}">{"".join(shapes)}</image>'
        '<image id="1" name="empty.png" width="16" height="12"></image></annotations>',
        "utf-8",
    )
    return path


def counted(mask: np.ndarray) -> str:
    """As CVAT's mask: run lengths along the rows, the first of pixels outside."""
    flat = mask.ravel()
    counts = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])).tolist()
    return ", ".join(map(str, [0, *counts] if flat[0] else counts))


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_any_mask_comes_in_pixel_for_pixel(mask):
    mask[0, :2] = True, False
    height, width = mask.shape
    with tempfile.TemporaryDirectory() as folder:
        photograph(Path(folder) / "a.png", width + 3, height + 2)
        shape = element("mask", rle=counted(mask), left=2, top=1, width=width, height=height)
        path = written(Path(folder), shape, width=width + 3, height=height + 2)
        (read,) = brought_in("cvat", path, Path(folder) / "out").values()
    assert np.array_equal(read == "cat", np.pad(mask, ((1, 1), (2, 1))))


def test_polygons_boxes_and_ellipses_cover_the_pixels_whose_centre_is_inside(tmp_path):
    photograph(tmp_path / "a.png", 20, 10)
    shapes = [
        element("polygon", points="0.00,0.00;4.00,0.00;4.00,4.00;0.00,4.00", z_order=0),
        element("box", "dog", xtl=10, ytl=0, xbr=15, ybr=5, z_order=0),
        element("ellipse", "dog", cx=17, cy=7, rx=2, ry=2, z_order=0),
    ]
    (read,) = brought_in("cvat", written(tmp_path, *shapes, width=20, height=10), tmp_path / "out").values()
    assert (read[:4, :4] == "cat").all()
    assert (read == "cat").sum() == 16
    assert (read[:5, 10:15] == "dog").all()
    assert (read == "dog").sum() == 25 + 12


def test_a_turned_box_turns_around_its_centre(tmp_path):
    photograph(tmp_path / "a.png")
    shape = element("box", xtl=2, ytl=4, xbr=10, ybr=6, rotation=90)
    (read,) = brought_in("cvat", written(tmp_path, shape), tmp_path / "out").values()
    assert (read[1:9, 5:7] == "cat").all()
    assert (read == "cat").sum() == 16


def test_what_lies_higher_in_z_order_wins_wherever_it_stands(tmp_path):
    photograph(tmp_path / "a.png")
    box = {"xtl": 0, "ytl": 0, "xbr": 8, "ybr": 8}
    shapes = [element("box", "dog", **box, z_order=2), element("box", "cat", **{**box, "xbr": 12}, z_order=-1)]
    (read,) = brought_in("cvat", written(tmp_path, *shapes), tmp_path / "out").values()
    assert read[0, [0, 10, 15]].tolist() == ["dog", "cat", "background"]


def test_images_without_a_region_and_lines_are_left_out_and_told(tmp_path, capsys):
    photograph(tmp_path / "images" / "train" / "a.png")
    box, line = element("box", xtl=0, ytl=0, xbr=8, ybr=8), element("polyline", points="1,1;5,5")
    path = written(tmp_path, box, line, image="train/a.png")
    assert list(brought_in("cvat", path, tmp_path / "out")) == ["a"]
    said = capsys.readouterr().out
    assert "images without a region are left out: 1" in said
    assert "1 shapes without area are left out: polyline" in said
    assert classes(tmp_path / "out") == ["background", "cat"]
    assert "classes without a pixel are left out: dog" in said


@pytest.fixture
def masks(tmp_path):
    """The folder of Segmentation mask 1.1, whose masks are in the colours of labelmap.txt."""
    rows = "".join(f"{name}:{','.join(map(str, color))}::\n" for name, color in PALETTE.items())
    (tmp_path / "in" / "SegmentationClass").mkdir(parents=True)
    (tmp_path / "in" / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + rows, "utf-8")
    photograph(tmp_path / "in" / "JPEGImages" / "a.jpg")
    mask = Image.new("RGB", (16, 12))
    ImageDraw.Draw(mask).rectangle((0, 0, 3, 11), fill=PALETTE["cat"])
    ImageDraw.Draw(mask).rectangle((12, 0, 15, 11), fill=PALETTE["Öl: neu"])
    mask.save(tmp_path / "in" / "SegmentationClass" / "a.png")
    return tmp_path / "in"


@pytest.mark.parametrize(("flag", "rest"), [(None, "background"), ("ignore", "ignore")])
def test_masks_in_the_colours_of_the_label_map_come_in(masks, tmp_path, flag, rest):
    (read,) = brought_in("cvat-masks", masks, tmp_path / "out", unlabelled=flag).values()
    assert read[5, [0, 8, 15]].tolist() == ["cat", rest, "Öl: neu"]


def test_the_colours_of_the_label_map_are_kept(masks, tmp_path):
    brought_in("cvat-masks", masks, tmp_path / "out")
    assert classes(tmp_path / "out") == ["background", "cat", "Öl: neu"]
    with Image.open(tmp_path / "out" / "a.mask.png") as image:
        shown = np.asarray(image.convert("RGB"))
    assert shown[5, 15].tolist() == [61, 61, 245]
    assert mask_of(tmp_path / "out", "a")[5, 15] == 2

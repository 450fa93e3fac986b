"""Random masks, through regions and polygons and every format that has them: not a pixel is lost."""

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from exporting import make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw
from test_export_readers import coco_of, cvats, labelmes

from label import IGNORE
from pipelines.dataset.shards import read_shards
from pipelines.formats.out import export
from pipelines.formats.regions import filled, keyholed, painted_outlines, regions, three_points
from pipelines.formats.to_yolo import agreement, label_lines, mask_of, miou

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
MASKS = arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 1, 2, IGNORE]))
"""Noise of 12 x 12 pixels has holes, holes in holes, regions that touch at corners, and many of one pixel."""

RING = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 2, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], np.uint8)
EDGES = {
    "a ring in a ring": RING,
    "nothing but ignored pixels": np.full((3, 4), IGNORE, np.uint8),
    "one pixel": np.zeros((1, 1), np.uint8),
    "a line": np.array([[0, 1, 1, 1, 0]], np.uint8),
    "corners": np.eye(6, dtype=np.uint8),
    "a chessboard": (np.indices((7, 7)).sum(0) % 2).astype(np.uint8),
    "255 classes": np.arange(256, dtype=np.uint8).reshape(16, 16),
}


def values_of(mask: np.ndarray) -> list[int]:
    return [int(value) for value in np.unique(mask)]


def check_regions(mask: np.ndarray) -> None:
    for connectivity in (4, 8):
        times = np.zeros(mask.shape, int)
        for region in regions(mask, values_of(mask), connectivity=connectivity):
            whole = region.on(mask.shape) > 0
            times += whole
            assert (mask[whole] == region.value).all()
            assert cv2.connectedComponents(whole.astype(np.uint8), connectivity=connectivity)[0] == 2
            left, top, width, height = region.box
            assert whole[top : top + height, left : left + width].sum() == whole.sum() == region.area
        assert (times == 1).all()


def check_keyholes(mask: np.ndarray) -> None:
    for region in regions(mask, values_of(mask)):
        outline = three_points(keyholed(region))
        assert len(outline) >= 3
        assert np.array_equal(filled(mask.shape, [outline]), region.on(mask.shape))


def check_paint(mask: np.ndarray) -> None:
    by_opencv, by_pillow = np.full(mask.shape, 77, np.uint8), Image.fromarray(np.full(mask.shape, 77, np.uint8))
    for value, outline in painted_outlines(mask, values_of(mask)):
        by_opencv[filled(mask.shape, [outline]) > 0] = value
        points = [(float(x), float(y)) for x, y in three_points(outline)]
        ImageDraw.Draw(by_pillow).polygon(points, fill=value, outline=value)
    assert np.array_equal(by_opencv, mask)
    assert np.array_equal(np.asarray(by_pillow), mask)


def check_yolo(mask: np.ndarray) -> None:
    """Readers that cut off the fraction of a pixel, and those that round it."""
    classes = [value for value in values_of(mask) if value != IGNORE]
    lines = label_lines(mask, classes)
    assert np.array_equal(mask_of(lines, mask.shape), mask)
    rounded = np.full(mask.shape, IGNORE, np.uint8)
    for line in lines:
        value, *shares = line.split()
        points = np.array(shares, np.float32).reshape(-1, 2) * np.array(mask.shape[::-1], np.float32)
        rounded[filled(mask.shape, [np.round(points).astype(np.int32)]) > 0] = int(value)
    assert np.array_equal(rounded, mask)
    assert miou(agreement(mask, mask_of(lines, mask.shape), 255)) == 1


CHECKS = [check_regions, check_keyholes, check_paint, check_yolo]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@given(mask=MASKS)
@settings(max_examples=150, deadline=None)
def test_any_mask_is_its_shapes(check, mask) -> None:
    check(mask)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", EDGES)
def test_masks_at_the_edge_are_their_shapes(check, name: str) -> None:
    check(EDGES[name])


def test_what_a_polygon_loses_is_measured() -> None:
    mask, read = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, 255]], np.uint8)
    counts = agreement(mask, read, 3)
    assert counts.tolist() == [[1, 1, 0], [2, 3, 0]]
    assert miou(counts) == (1 / 2 + 1 / 3) / 2


LETTERS = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters=":#")
NAME = st.text(LETTERS, min_size=1).map(str.strip).filter(bool)


@given(masks=st.lists(MASKS, min_size=1, max_size=3), names=st.lists(NAME, min_size=3, max_size=3, unique=True))
@settings(max_examples=15, deadline=None)
def test_any_masks_and_names_are_exported_and_read_again(masks, names) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        make_dataset(place / "set", masks, tuple(names))
        for name in ("coco", "labelme", "cvat", "voc", "mmsegmentation", "folders", "yolo", "instruct"):
            export(place / "set", place / name, name, workers=1)
        export(place / "set", place / "instances", "coco", instances=True, workers=1)
        for sample in read_shards(place / "set"):
            for folder in ("coco", "instances"):
                coco = coco_of(place / folder / "annotations" / "train.json")
                read = np.full(sample.mask.shape, IGNORE)
                for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[sample.seed + 1])):
                    name = coco.loadCats([annotation["category_id"]])[0]["name"]
                    read[coco.annToMask(annotation) > 0] = names.index(name)
                assert np.array_equal(read, sample.mask)
        _, found, colors = cvats(place / "cvat" / "annotations.zip")
        for file_name, mask in found.items():
            expected = masks[int(file_name.partition("-")[2])]
            labels = [*colors]
            for value, name in enumerate(names):
                assert ((mask == labels.index(name)) >= (expected == value)).all()
        _check_labelme(place / "labelme", masks, names)


def _check_labelme(folder: Path, masks: list[np.ndarray], names: list[str]) -> None:
    values = {"__ignore__": IGNORE, **{name: value for value, name in enumerate(names)}}
    for path in folder.glob("*-*.json"):
        expected = masks[int(path.stem.partition("-")[2])]
        shapes = json.loads(path.read_text("utf-8"))["shapes"]
        assert np.array_equal(labelmes(shapes, expected.shape, values), expected)


def test_255_classes_are_exported_and_read_again() -> None:
    names = tuple(f"Größe {i}, a.b" for i in range(255))
    mask = EDGES["255 classes"]
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        make_dataset(place / "set", [mask], names)
        export(place / "set", place / "cvat", "cvat", workers=1)
        _, found, colors = cvats(place / "cvat" / "annotations.zip")
        assert list(colors) == ["background", *names]
        (read,) = found.values()
        assert np.array_equal(read, np.where(mask == IGNORE, 0, mask.astype(int) + 1))
        export(place / "set", place / "coco", "coco-panoptic", instances=True, workers=1)
        export(place / "set", place / "hub", "huggingface", workers=1)

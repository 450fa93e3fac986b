"""Broken sources of every format: one sentence with the file's name, all mistakes at once, nothing written."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import test_import_coco
import test_import_cvat
import test_import_folders
import test_import_label_studio
import test_import_labelme
from foreign import photograph
from PIL import Image
from test_import_label_studio import stroke, task
from test_import_labelme import shape

from generate import GenerateError
from label import LabelError
from pipelines.errors import InputError
from pipelines.formats.into import READERS, import_annotations

BOX = [[0, 0], [5, 5]]
EYE = np.eye(12, 16, dtype=bool)
Case = tuple[str, Callable[[Path], object], str]


def labelme(*shapes: dict[str, object], **more: Any) -> Callable[[Path], object]:
    return lambda folder: test_import_labelme.drawn(photograph(folder / "a.png"), *shapes, **more)


def coco(change: Callable[[dict], object], segmentation: object = None) -> Callable[[Path], object]:
    """A file of COCO's with one region, after that change."""

    def make(folder: Path) -> None:
        path = test_import_coco.written(folder, [{"segmentation": segmentation or test_import_coco.rle(EYE)}])
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return make


def region(**change: object) -> Callable[[dict], object]:
    return lambda content: content["annotations"][0].update(change)


def studio(*results: dict, image: str = "a.png") -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        photograph(folder / "a.png")
        test_import_label_studio.written(folder, task(list(results), image))

    return make


def cvat(*shapes: str, **more: Any) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        photograph(folder / "a.png")
        test_import_cvat.written(folder, *shapes, **more)

    return make


def cvat_masks(color: tuple[int, ...], table: str = "background:0,0,0::\ncat:9,9,9::\n") -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        photograph(folder / "JPEGImages" / "a.jpg")
        (folder / "SegmentationClass").mkdir()
        Image.new("RGB", (16, 12), color).save(folder / "SegmentationClass" / "a.png")
        (folder / "labelmap.txt").write_text(table)

    return make


def pair(mask: np.ndarray, name: str = "a.png", images: tuple[str, ...] = ("a.png",)) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        for image in images:
            photograph(folder / "images" / image)
        (folder / "masks").mkdir()
        Image.fromarray(mask).save(folder / "masks" / name)

    return make


def yolo(line: str, names: str = "[cat, dog]") -> Callable[[Path], object]:
    return lambda folder: test_import_folders.yolo(folder, f"0 0 0 1 0 1 1\n{line}\n", names)


def binary(mask: np.ndarray, path: str = "masks/cat/a.png") -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        photograph(folder / "images" / "a.png")
        (folder / path).parent.mkdir(parents=True)
        Image.fromarray(mask).save(folder / path)

    return make


def huggingface(image: object, mask: object, column: str = "mask") -> Callable[[Path], object]:
    """One row; the masks' column may have another name."""

    def make(folder: Path) -> None:
        content = {"image": [image], column: [mask]}
        features = datasets.Features({name: datasets.Image() for name in content})
        datasets.Dataset.from_dict(content, features=features).save_to_disk(str(folder))

    return make


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


PICTURE = Image.new("RGB", (16, 12))
ZEROS = np.zeros((12, 16), np.uint8)
GREYS = np.arange(192, dtype=np.uint8).reshape(12, 16)
COLOURS = np.zeros((12, 16, 3), np.uint8)
SCHEME = 'classes = [{ name = "background", color = [1, 1, 1] }, { name = "cat", color = [9, 9, 9] }]'

BROKEN: dict[str, Case] = {
    "nothing there": ("labelme", lambda folder: folder.rmdir(), r"in does not exist; annotations are needed there"),
    "an empty folder": ("labelme", lambda folder: None, r"holds no \.json files"),
    "no JSON": ("labelme", text("a.json", "{"), r"a\.json is not a file of LabelMe's: Invalid JSON"),
    "another JSON": ("labelme", text("a.json", "{}"), r"a\.json is not a file of LabelMe's: shapes: Field required"),
    "no point": ("labelme", labelme(shape("cat", [[0, float("nan")]])), r"a\.json is not .*points\.0\.1.*finite"),
    "two corners": ("labelme", labelme(shape("cat", BOX)), r"a\.json has shape 0 \(cat\), a polygon of 2 points"),
    "an unknown shape": ("labelme", labelme(shape("cat", BOX, "cube")), r"a\.json has shape 0 of the type cube"),
    "a mask's box": (
        "labelme",
        labelme(shape("cat", BOX, "mask", mask=test_import_labelme.encoded(EYE))),
        r"a\.json has shape 0 \(cat\), a mask of 16x12 in a box of 6x6",
    ),
    "no mask": ("labelme", labelme(shape("cat", BOX, "mask", mask="?")), r"a\.json holds an image that is no base64"),
    "a class": (
        "labelme",
        labelme(shape("dog", BOX, "rectangle")),
        r"a\.json has the class dog; the scheme has background, cat",
    ),
    "a size": (
        "labelme",
        labelme(shape("cat", BOX, "rectangle"), size=(99, 12)),
        r"a\.json is of 99x12, its image a\.png of 16x12",
    ),
    "a missing image": (
        "labelme",
        labelme(shape("cat", BOX, "rectangle"), imagePath="b.png"),
        r"a\.json names the image b\.png, which is not in .*; --images names its folder",
    ),
    "COCO: another JSON": ("coco", text("a.json", "[]"), r"a\.json is not a file of COCO's"),
    "COCO: two files": (
        "coco",
        lambda folder: [(folder / name).write_text("{}") for name in ("a.json", "b.json")],
        r"holds 2 \.json files; name one of them: a\.json, b\.json",
    ),
    "COCO: an unknown category": ("coco", coco(region(category_id=7)), r"annotation 1 is of category 7, which"),
    "COCO: an unknown image": ("coco", coco(region(image_id=7)), r"annotation 1 is of image 7, which the file"),
    "COCO: ids twice": ("coco", coco(lambda c: c["images"].append(c["images"][0])), r"images share the id 1"),
    "COCO: damaged run lengths": (
        "coco",
        coco(region(segmentation={"size": [12, 16], "counts": "~~"})),
        r"coco\.json, image 1, has annotation 1, which has damaged run lengths",
    ),
    "COCO: too few run lengths": (
        "coco",
        coco(region(segmentation={"size": [12, 16], "counts": [3, 4]})),
        r"image 1, has annotation 1, which has run lengths of 7 pixels",
    ),
    "COCO: run lengths cut short": (
        "coco",
        coco(region(segmentation={"size": [12, 16], "counts": "PP"})),
        r"image 1, has annotation 1, which has run lengths that are cut short",
    ),
    "COCO: compressed run lengths of too few pixels": (
        "coco",
        coco(region(segmentation={"size": [12, 16], "counts": "0000"})),
        r"image 1, has annotation 1, which has run lengths of 0 pixels, not of 192",
    ),
    "COCO: a box": ("coco", coco(region(segmentation=[[0, 0, 5, 5]])), r"annotation 1 with a polygon of 4 numbers"),
    "COCO: far away": ("coco", coco(region(segmentation=[[0, 0, 9e9, 5, 5, 5]])), r"annotation 1 with a polygon far"),
    "COCO: a size": ("coco", coco(lambda c: c["images"][0].update(width=20)), r"of 20x12, its image a\.png of 16x12"),
    "COCO: a size of run lengths": (
        "coco",
        coco(region(segmentation=test_import_coco.rle(EYE[:6]))),
        r"image 1, holds a mask of 16x6, its image is 16x12",
    ),
    "COCO: a missing image": ("coco", coco(lambda c: c["images"][0].update(file_name="b.png")), r"the image b\.png"),
    "Label Studio: JSON-MIN": (
        "label-studio",
        text("a.json", '[{"image": "a.png", "tag": []}]'),
        r"a\.json is not Label Studio's JSON \(JSON-MIN is not read\): 0\.data: Field required",
    ),
    "Label Studio: another size": (
        "label-studio",
        studio(stroke(EYE, "cat", original_width=32)),
        r"export\.json, task 1, is of 32x12, its image a\.png of 16x12",
    ),
    "Label Studio: a damaged stroke": (
        "label-studio",
        studio({**stroke(EYE, "cat"), "value": {"rle": [0, 0, 3, 0, 1], "brushlabels": ["cat"]}}),
        r"export\.json, task 1, has region r1, a brush stroke that is damaged",
    ),
    "Label Studio: a turned image": (
        "label-studio",
        studio(stroke(EYE, "cat", image_rotation=90)),
        r"export\.json, task 1, has the image turned by 90 degrees",
    ),
    "Label Studio: no image": ("label-studio", studio(stroke(EYE, "cat"), image="?"), r"task 1, names no image"),
    "Label Studio: one class": ("label-studio", studio(stroke(EYE, "cat")), r"all labelled pixels are cat, and two"),
    "CVAT: no XML": ("cvat", text("a.xml", "<annotations>"), r"a\.xml is no XML: no element found"),
    "CVAT: other XML": ("cvat", text("a.xml", "<svg/>"), r"a\.xml is XML of another kind, <svg>"),
    "CVAT: video": ("cvat", text("a.xml", "<annotations><track/></annotations>"), r"a\.xml is CVAT for video"),
    "CVAT: no number": (
        "cvat",
        cvat(test_import_cvat.element("polygon", points="1,2;x,4;5,6")),
        r"annotations\.xml, a\.png, has an attribute that is no number: .*'x'",
    ),
    "CVAT: no attribute": (
        "cvat",
        cvat(test_import_cvat.element("box", xtl=3)),
        r"annotations\.xml, a\.png, lacks the attribute ytl",
    ),
    "CVAT: run lengths": (
        "cvat",
        cvat(test_import_cvat.element("mask", rle="3, 4", left=0, top=0, width=2, height=2)),
        r"a\.png, has a mask \(cat\) that has run lengths of 7 pixels, not of 4",
    ),
    "CVAT: a missing image": (
        "cvat",
        cvat(test_import_cvat.element("box", xtl=0, ytl=0, xbr=3, ybr=3), image="b.png"),
        r"annotations\.xml, b\.png, names the image b\.png, which is not in",
    ),
    "CVAT masks: no label map": ("cvat-masks", lambda folder: None, r"labelmap\.txt is missing"),
    "CVAT masks: a label map": ("cvat-masks", cvat_masks((0, 0, 0), "cat:9,9::\n"), r"cat has the colour 9,9;"),
    "CVAT masks: a colour": (
        "cvat-masks",
        cvat_masks((1, 2, 3)),
        r"a\.png has the colour \[1, 2, 3\], which labelmap\.txt does not have, in 192 pixels",
    ),
    "VOC: no masks": ("voc", lambda folder: None, r"in has no folder of masks; masks, SegmentationClass"),
    "VOC: no image": ("voc", pair(ZEROS, "b.png"), r"b\.png has no image in .*images; expected b\.png or \.jpg"),
    "VOC: two images": ("voc", pair(ZEROS, images=("a.png", "a.jpg")), r"a\.png may be the mask of a\.jpg and a\.png"),
    "VOC: a JPEG": ("voc", pair(ZEROS, "a.jpg"), r"a\.jpg is a JPEG, which blurs class ids"),
    "VOC: in colour": ("voc", pair(COLOURS), r"a\.png is in colour; .* or import it as colours"),
    "VOC: a size": ("voc", pair(ZEROS[:6]), r"a\.png is of 16x6, its image a\.png of 16x12"),
    "VOC: an unknown class": (
        "voc",
        pair(GREYS),
        r"a\.png has the value 2 and 189 more in 190 pixels; the classes have 0 to 1",
    ),
    "colours: a colour": ("colours", pair(COLOURS), r"a\.png has the colour \[0, 0, 0\], which the scheme does not"),
    "YOLO: no names": ("yolo", yolo("", "3"), r"data\.yaml names no classes; it needs names: \[car, tree\]"),
    "YOLO: a box": ("yolo", yolo("0 0.5 0.5 0.2 0.2"), r"labels/train/a\.txt has a box in line 2; polygons are needed"),
    "YOLO: no numbers": ("yolo", yolo("0 a b"), r"labels/train/a\.txt has a line 2 that is no numbers"),
    "YOLO: an odd number": ("yolo", yolo("0 0 0 1 0 1 1 1"), r"a\.txt has 8 numbers in line 2; a polygon is class x y"),
    "YOLO: a class": ("yolo", yolo("7 0 0 1 0 1 1"), r"a\.txt has the class 7 in line 2; data\.yaml has 0 to 1"),
    "YOLO: pixels": ("yolo", yolo("0 0 0 31 0 31 23"), r"a\.txt has a point outside of the image in line 2"),
    "binary: greys": ("binary", binary(GREYS), r"a\.png has 192 values; a mask of one class is black and one other"),
    "binary: no image": ("binary", binary(ZEROS, "masks/cat/b.png"), r"masks/cat/b\.png has no image in .*images"),
    "binary: a class": ("binary", binary(ZEROS + np.uint8(1), "masks/dog/a.png"), r"a\.png has the class dog; the sch"),
    "Hugging Face: nothing there": ("huggingface", lambda folder: folder.rmdir(), r"in does not exist"),
    "Hugging Face: no dataset": ("huggingface", lambda folder: None, r"holds no \.parquet files"),
    "Hugging Face: damaged": ("huggingface", text("a.parquet", "?"), r"is no dataset that can be opened"),
    "Hugging Face: columns": (
        "huggingface",
        huggingface(PICTURE, PICTURE, "x"),
        r"in has the image columns image, x; --columns IMAGE,MASK names the two",
    ),
    "Hugging Face: in colour": ("huggingface", huggingface(PICTURE, PICTURE), r"row 0 has a mask of mode RGB"),
    "Hugging Face: no mask": ("huggingface", huggingface(PICTURE, None), r"row 0 has no mask"),
    "Hugging Face: no image": (
        "huggingface",
        huggingface({"bytes": b"?", "path": None}, Image.fromarray(ZEROS)),
        r"row 0 holds an image that cannot be read",
    ),
    "Hugging Face: a size": (
        "huggingface",
        huggingface(PICTURE, Image.fromarray(ZEROS[:6])),
        r"row 0 is of 16x6, its image 0000\.png of 16x12",
    ),
}
WITHOUT_SCHEME = ("Label Studio: one class", "VOC: in colour")


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_source_ends_in_one_sentence_and_nothing_is_written(broken: str, tmp_path: Path) -> None:
    format_name, make, sentence = BROKEN[broken]
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    scheme = tmp_path / "scheme.toml"
    scheme.write_text(SCHEME)
    given = None if broken in WITHOUT_SCHEME else scheme
    with pytest.raises((InputError, LabelError, GenerateError), match=sentence) as raised:
        import_annotations(format_name, str(tmp_path / "in"), tmp_path / "out", scheme=given)
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"] * (tmp_path / "in").exists() + ["scheme.toml"]


def test_a_zip_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "coco.zip").write_bytes(b"PK")
    with pytest.raises(LabelError, match=r"coco\.zip is packed; unpack it"):
        import_annotations("coco", str(tmp_path / "coco.zip"), tmp_path / "out")


def test_there_are_broken_sources_of_every_format() -> None:
    assert {format_name for format_name, _, _ in BROKEN.values()} == set(READERS)
    assert len(BROKEN) >= 30


def test_all_mistakes_of_a_source_are_told_at_once(tmp_path: Path) -> None:
    test_import_labelme.drawn(photograph(tmp_path / "in" / "a.png"), shape("cat", BOX))
    test_import_labelme.drawn(photograph(tmp_path / "in" / "b.png"), shape("cat", BOX, "rectangle"), size=(9, 9))
    (tmp_path / "in" / "c.json").write_text("{")
    test_import_labelme.drawn(photograph(tmp_path / "in" / "d.png"), shape("cat", BOX, "rectangle"))
    (tmp_path / "in" / "d.png").write_bytes(b"?")
    with pytest.raises(LabelError) as raised:
        import_annotations("labelme", str(tmp_path / "in"), tmp_path / "out")
    said = str(raised.value)
    assert [name for name in ("a.json", "b.json", "c.json", "d.png") if name in said] == [
        "a.json",
        "b.json",
        "c.json",
        "d.png",
    ]
    assert said.endswith("; nothing is written")


def test_a_folder_that_holds_something_is_not_overwritten(tmp_path: Path) -> None:
    test_import_labelme.drawn(photograph(tmp_path / "in" / "a.png"), shape("cat", BOX, "rectangle"))
    photograph(tmp_path / "out" / "mine.png")
    with pytest.raises(InputError, match="out holds something already; name a folder that is not there yet"):
        import_annotations("labelme", str(tmp_path / "in"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.png"]


@pytest.mark.parametrize(
    ("format_name", "more", "sentence"),
    [
        ("psd", {}, "psd is no format that is read; npz, labelme, coco, "),
        ("labelme", {"options": {"split": "train"}}, "--split says nothing of labelme; leave it out"),
        ("labelme", {"images": Path("gone")}, "gone is no folder; --images names the folder of the images"),
        ("labelme", {"unlabelled": "sky"}, "unlabelled pixels are sky, which is none of the classes cat"),
    ],
)
def test_what_the_command_is_told_wrongly_is_one_sentence(format_name, more, sentence, tmp_path):
    test_import_labelme.drawn(photograph(tmp_path / "in" / "a.png"), shape("cat", BOX, "rectangle"))
    with pytest.raises((InputError, LabelError), match=sentence):
        import_annotations(format_name, str(tmp_path / "in"), tmp_path / "out", **more)


@pytest.mark.parametrize(
    ("module", "format_name", "make"),
    [
        ("pycocotools.mask", "coco", BROKEN["COCO: a size"][1]),
        ("label_studio_sdk.converter.brush", "label-studio", studio(stroke(EYE, "cat"))),
        ("datasets", "huggingface", huggingface(PICTURE, Image.fromarray(ZEROS))),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_line_that_installs_it(
    module, format_name, make, tmp_path, monkeypatch
):
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"run `pip install 'datasetddpm\[{format_name}\]'`"):
        import_annotations(format_name, str(tmp_path / "in"), tmp_path / "out")

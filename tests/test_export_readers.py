"""Exports read by those for whom they are: other libraries, or readers written from a format's documents."""

import io
import json
import math
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import NAMES, make_dataset, random_masks
from PIL import Image, ImageDraw

from label import Scheme
from pipelines.dataset.shards import Sample, read_shards
from pipelines.errors import DatasetError
from pipelines.formats import to_cvat
from pipelines.formats.items import About
from pipelines.formats.out import export
from pipelines.formats.to_instruct import PHRASINGS, instruction


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight samples in three shards, in a folder whose name has dots."""
    return make_dataset(tmp_path_factory.mktemp("set") / "data.v1.2", random_masks(8))


@pytest.fixture(scope="module")
def samples(dataset: Path) -> list[Sample]:
    return list(read_shards(dataset))


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def coco_of(path: Path) -> Any:
    from pycocotools.coco import COCO

    return COCO(str(path))


@pytest.mark.parametrize("instances", [False, True])
def test_pycocotools_reads_the_masks_pixel_for_pixel(
    dataset: Path, samples: list[Sample], tmp_path: Path, instances: bool
) -> None:
    export(dataset, tmp_path / "coco", "coco", instances=instances, workers=1)
    coco = coco_of(tmp_path / "coco" / "annotations" / "train.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(NAMES)
    for sample in samples:
        read, times = np.full(sample.mask.shape, 255), np.zeros(sample.mask.shape, int)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[sample.seed + 1])):
            pixels = coco.annToMask(annotation) > 0
            read[pixels], times = annotation["category_id"] - 1, times + pixels
            rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
            left, top = columns[0], rows[0]
            assert annotation["bbox"] == [left, top, columns[-1] + 1 - left, rows[-1] + 1 - top]
            assert annotation["area"] == pixels.sum()
        assert np.array_equal(read, sample.mask)
        assert times.max() == 1, "no pixel is in two annotations"


def test_ids_of_coco_begin_at_1_and_are_given_once(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path / "coco", "coco", instances=True, split="0.5,0.5", workers=1)
    for split in ("train", "val"):
        stored = json.loads((tmp_path / "coco" / "annotations" / f"{split}.json").read_text())
        assert [category["id"] for category in stored["categories"]] == [1, 2, 3]
        assert [a["id"] for a in stored["annotations"]] == list(range(1, len(stored["annotations"]) + 1))
        assert min(image["id"] for image in stored["images"]) >= 1


def test_regions_of_one_class_that_do_not_touch_are_instances_of_their_own(tmp_path: Path) -> None:
    mask = np.zeros((8, 12), np.uint8)
    mask[1:3, 1:3] = mask[1:3, 4:6] = mask[3, 3] = 1  # the last touches the first at a corner, and the second as well
    mask[6, 10] = 1
    export(make_dataset(tmp_path / "set", [mask]), tmp_path / "coco", "coco", instances=True, workers=1)
    coco = coco_of(tmp_path / "coco" / "annotations" / "train.json")
    found = coco.loadAnns(coco.getAnnIds(catIds=[2]))
    assert [(a["bbox"], a["area"]) for a in found] == [([1, 1, 5, 3], 9), ([10, 6, 1, 1], 1)]


def test_torchvision_reads_coco(dataset: Path, samples: list[Sample], tmp_path: Path) -> None:
    from torchvision.datasets import CocoDetection

    export(dataset, tmp_path / "coco", "coco", workers=1)
    read: Any = CocoDetection(
        tmp_path / "coco" / "images" / "train", str(tmp_path / "coco" / "annotations" / "train.json")
    )
    for (image, annotations), sample in zip(read, samples, strict=True):
        assert np.array_equal(np.asarray(image), sample.image)
        assert {a["category_id"] - 1 for a in annotations} == set(np.unique(sample.mask)) - {255}


def test_a_detector_trains_on_the_instances(tmp_path: Path) -> None:
    """A few steps of torchvision's, which refuses boxes that are none; its loss falls on two images."""
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    masks = [np.zeros((64, 64), np.uint8) for _ in range(2)]
    masks[0][8:30, 10:40], masks[1][30:60, 20:50], masks[1][2:12, 2:12] = 1, 1, 2
    make_dataset(tmp_path / "set", masks)
    export(tmp_path / "set", tmp_path / "coco", "coco", instances=True, without=("background",), workers=1)
    folder = tmp_path / "coco"
    read = CocoDetection(folder / "images" / "train", str(folder / "annotations" / "train.json"))
    wrapped: Any = wrap_dataset_for_transforms_v2(read, target_keys=("boxes", "labels"))
    pairs = [wrapped[i] for i in range(len(wrapped))]
    images = [torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 for image, _ in pairs]
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3, 2, 1))
    backbone.out_channels = 16  # type: ignore[assignment] # what torchvision asks a backbone for
    detector = FasterRCNN(
        backbone,
        len(NAMES) + 1,
        min_size=64,
        max_size=64,
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 0),
    )
    optimizer, losses = torch.optim.Adam(detector.parameters(), 1e-3), []
    for _ in range(8):
        loss = torch.stack(list(detector(images, [target for _, target in pairs]).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("instances", [False, True])
def test_panoptic_segments_are_the_masks(dataset: Path, samples: list[Sample], tmp_path: Path, instances: bool) -> None:
    """By the format's own page: id = R + 256 G + 256^2 B, 0 unlabelled, and each segment told in segments_info."""
    export(dataset, tmp_path / "out", "coco-panoptic", instances=instances, workers=1)
    stored = json.loads((tmp_path / "out" / "annotations" / "panoptic_train.json").read_text())
    assert {category["isthing"] for category in stored["categories"]} == {int(instances)}
    for sample, annotation in zip(samples, stored["annotations"], strict=True):
        colors = opened(tmp_path / "out" / "annotations" / "panoptic_train" / annotation["file_name"]).astype(int)
        numbers = colors @ [1, 256, 256**2]
        read = np.full(sample.mask.shape, 255)
        assert set(np.unique(numbers)) - {0} == {segment["id"] for segment in annotation["segments_info"]}
        for segment in annotation["segments_info"]:
            rows, columns = np.nonzero(numbers == segment["id"])
            read[rows, columns] = segment["category_id"] - 1
            assert segment["area"] == len(rows)
            left, top = columns.min(), rows.min()
            assert segment["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
        assert np.array_equal(read, sample.mask)


def test_mmsegmentations_folders_are_read_as_its_documents_say(
    dataset: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """img_dir and ann_dir have the same names; Pillow opens a map as it is, its palette unused; 255 is ignored."""
    export(dataset, tmp_path / "out", "mmsegmentation", split="0.5,0.5", workers=1)
    metainfo = json.loads((tmp_path / "out" / "metainfo.json").read_text("utf-8"))
    assert metainfo["classes"] == list(NAMES)
    assert len(metainfo["palette"]) == len(NAMES)
    by_seed, read = {sample.seed: sample for sample in samples}, set()
    for split in ("train", "val"):
        names = [sorted(p.name for p in (tmp_path / "out" / kind / split).iterdir()) for kind in ("img_dir", "ann_dir")]
        assert names[0] == names[1]
        for name in names[0]:
            sample = by_seed[int(name.removesuffix(".png"))]
            assert np.array_equal(opened(tmp_path / "out" / "img_dir" / split / name), sample.image)
            assert np.array_equal(opened(tmp_path / "out" / "ann_dir" / split / name), sample.mask)
            read.add(sample.seed)
    assert read == by_seed.keys()


def test_pascal_vocs_folders_are_read_as_its_devkit_does(dataset: Path, samples: list[Sample], tmp_path: Path) -> None:
    """Names by list, maps as indices into a palette, 255 for what counts as no class."""
    export(dataset, tmp_path / "out", "voc", workers=1)
    names = (tmp_path / "out" / "ImageSets" / "Segmentation" / "train.txt").read_text().split()
    for name, sample in zip(names, samples, strict=True):
        with Image.open(tmp_path / "out" / "SegmentationClass" / f"{name}.png") as mask:
            assert mask.mode == "P"
            assert mask.getpalette() == Scheme(NAMES).palette
            assert np.array_equal(np.asarray(mask), sample.mask)
        assert np.array_equal(opened(tmp_path / "out" / "JPEGImages" / f"{name}.png"), sample.image)
    assert (tmp_path / "out" / "labels.txt").read_text("utf-8").splitlines() == list(NAMES)


def test_supervision_reads_yolo_and_the_loss_is_said(dataset: Path, samples: list[Sample], tmp_path: Path) -> None:
    from supervision.dataset.formats.yolo import load_yolo_annotations

    outcome = export(dataset, tmp_path / "yolo", "yolo", workers=1)
    assert "whose polygons are lossy: mIoU 1.0000 against the masks" in outcome.clause
    classes, _, annotations = load_yolo_annotations(
        str(tmp_path / "yolo" / "images" / "train"),
        str(tmp_path / "yolo" / "labels" / "train"),
        str(tmp_path / "yolo" / "data.yaml"),
    )
    assert classes == list(NAMES)
    for sample in samples:
        found = annotations[str(tmp_path / "yolo" / "images" / "train" / f"{sample.seed:012d}.png")]
        assert found.mask is not None
        assert found.class_id is not None
        read = np.full(sample.mask.shape, 255)
        for pixels, value in zip(found.mask, found.class_id, strict=True):
            read[pixels] = value
        assert np.array_equal(read, sample.mask)


def test_hugging_faces_datasets_reads_images_masks_and_class_names(
    dataset: Path, samples: list[Sample], tmp_path: Path
) -> None:
    from datasets import Image as Picture
    from datasets import load_dataset

    export(dataset, tmp_path / "hub", "huggingface", split="0.5,0.5", workers=1)
    read: Any = load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))
    assert set(read) == {"train", "val"}
    features = read["train"].features
    assert isinstance(features["image"], Picture)
    assert isinstance(features["mask"], Picture)
    assert features["classes"].feature.names == list(NAMES)
    rows = {row["seed"]: row for split in read.values() for row in split}
    assert len(rows) == len(samples)
    for sample in samples:
        row = rows[sample.seed]
        assert np.array_equal(np.asarray(row["image"]), sample.image)
        assert np.array_equal(np.asarray(row["mask"]), sample.mask)
        assert row["classes"] == sorted(set(np.unique(sample.mask)) - {255})
        assert row["uncertainty"] == sample.uncertainty


def labelmes(shapes: list[dict], size: tuple[int, int], values: dict[str, int]) -> np.ndarray:
    """As labelme's shapes_to_label fills polygons: Pillow, the edge too, each shape over those before it."""
    label = np.zeros(size, np.int32)
    for shape in shapes:
        assert shape["shape_type"] == "polygon"
        assert len(shape["points"]) > 2, "labelme refuses fewer"
        picture = Image.fromarray(np.zeros(size, np.uint8))
        ImageDraw.Draw(picture).polygon([(x, y) for x, y in shape["points"]], outline=1, fill=1)
        label[np.asarray(picture) > 0] = values[shape["label"]]
    return label


def test_labelmes_converter_paints_the_masks_and_the_most_uncertain_comes_first(
    dataset: Path, samples: list[Sample], tmp_path: Path
) -> None:
    export(dataset, tmp_path / "out", "labelme", workers=1)
    labels = (tmp_path / "out" / "labels.txt").read_text("utf-8").splitlines()
    assert labels == ["__ignore__", *NAMES]
    values = {name: number - 1 for number, name in enumerate(labels)}  # __ignore__ is -1, as in labelme2voc
    paths = sorted((tmp_path / "out").glob("*-*.json"))
    for path, sample in zip(paths, reversed(samples), strict=True):
        stored = json.loads(path.read_text("utf-8"))
        assert np.array_equal(opened(path.parent / stored["imagePath"]), sample.image)
        size = (stored["imageHeight"], stored["imageWidth"])
        assert np.array_equal(labelmes(stored["shapes"], size, values).astype(np.uint8), sample.mask)


def test_label_studios_converter_gives_the_masks_and_the_most_uncertain_comes_first(
    dataset: Path, samples: list[Sample], tmp_path: Path
) -> None:
    from label_studio_sdk.converter.brush import decode_rle

    export(dataset, tmp_path / "my out", "label-studio", workers=1)
    tasks = json.loads((tmp_path / "my out" / "tasks.json").read_text("utf-8"))
    assert [task["data"]["seed"] for task in tasks] == [sample.seed for sample in reversed(samples)]
    for task, sample in zip(tasks, reversed(samples), strict=True):
        assert task["data"]["image"].startswith("/data/local-files/?d=my%20out/images/")
        (prediction,) = task["predictions"]
        assert prediction["score"] == 1 - sample.uncertainty / math.log(3)
        read = np.full(sample.mask.shape, 255)
        for result in prediction["result"]:
            assert result["type"] == "brushlabels"
            height, width = result["original_height"], result["original_width"]
            brush = decode_rle(result["value"]["rle"]).reshape(height, width, 4)[:, :, 3]
            read[brush > 0] = NAMES.index(result["value"]["brushlabels"][0])
        assert np.array_equal(read, sample.mask)
    config = ET.parse(tmp_path / "my out" / "config.xml").getroot()
    assert [label.get("value") for label in config.iter("Label")] == list(NAMES)
    assert {config[1].get("name"), config[1].get("toName")} == {"tag", "image"}


def test_label_studios_brush_is_not_cocos_rle(tmp_path: Path) -> None:
    mask = np.zeros((6, 6), np.uint8)
    mask[2:4, 1:5] = 1
    make_dataset(tmp_path / "set", [mask])
    export(tmp_path / "set", tmp_path / "studio", "label-studio", workers=1)
    (task,) = json.loads((tmp_path / "studio" / "tasks.json").read_text())
    rle = task["predictions"][0]["result"][1]["value"]["rle"]
    assert int.from_bytes(bytes(rle[:4]), "big") == 6 * 6 * 4, "it begins with the number of RGBA values"
    assert all(0 <= byte <= 255 for byte in rle)


def cvats(path: Path) -> tuple[list[str], dict[str, np.ndarray], dict[str, tuple[int, ...]]]:
    """By CVAT's page of "Segmentation mask 1.1": names of the list, labels' numbers by the colours of labelmap.txt."""
    with zipfile.ZipFile(path) as file:
        rows = [line for line in file.read("labelmap.txt").decode().splitlines() if not line.startswith("#")]
        colors = {line.split(":")[0]: tuple(map(int, line.split(":")[1].split(","))) for line in rows}
        names = file.read("ImageSets/Segmentation/default.txt").decode().split()
        masks = {}
        for name in names:
            with Image.open(io.BytesIO(file.read(f"SegmentationClass/{name}.png"))) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            masks[name] = np.full(pixels.shape[:2], -1)
            for number, color in enumerate(colors.values()):
                masks[name][(pixels == color).all(-1)] = number
            assert masks[name].min() >= 0, "every colour is declared"
    return names, masks, colors


def test_cvat_has_its_background_declared_and_255_nowhere(dataset: Path, samples: list[Sample], tmp_path: Path) -> None:
    export(dataset, tmp_path / "out", "cvat", workers=1)
    names, masks, colors = cvats(tmp_path / "out" / "annotations.zip")
    assert colors["background"] == (0, 0, 0)
    assert list(colors) == list(NAMES)
    for name, sample in zip(names, reversed(samples), strict=True):
        assert np.array_equal(masks[name], np.where(sample.mask == 255, 0, sample.mask))
        assert np.array_equal(opened(tmp_path / "out" / "images" / f"{name}.png"), sample.image)
    labels = json.loads((tmp_path / "out" / "labels.json").read_text("utf-8"))
    assert [label["name"] for label in labels] == list(NAMES)
    assert not (tmp_path / "out" / ".masks").exists()


@pytest.mark.parametrize("classes", [2, 40, 255])
def test_cvats_colours_are_distinct_though_the_schemes_are_not(classes: int) -> None:
    about = About(Scheme(tuple(f"class {i}" for i in range(classes))), ("train",), "out")
    colors = to_cvat.colors_of(about)
    assert len(set(colors.values())) == classes + 1
    assert next(iter(colors.items())) == ("background", (0, 0, 0))


@pytest.mark.parametrize(("format_name", "name"), [("cvat", "a:b"), ("cvat", "#a"), ("cvat", " a")])
def test_a_name_that_a_format_cannot_hold_is_refused(tmp_path: Path, format_name: str, name: str) -> None:
    make_dataset(tmp_path / "set", [np.zeros((4, 4), np.uint8)], (name, "other"))
    with pytest.raises(DatasetError, match="cannot be named in this format, where a name is one line"):
        export(tmp_path / "set", tmp_path / "out", format_name, workers=1)


def test_the_imagefolder_reads_instructions_and_the_painted_pixels_are_the_classs(
    dataset: Path, samples: list[Sample], tmp_path: Path
) -> None:
    from datasets import load_dataset

    export(dataset, tmp_path / "out", "instruct", workers=1)
    read: Any = load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    scheme, by_place = Scheme(NAMES), iter(read)
    for sample in samples:
        for value in sorted(set(np.unique(sample.mask)) - {255}):
            row = next(by_place)
            given, painted = (np.asarray(row[name]).astype(float) for name in ("input_image", "edited_image"))
            assert np.array_equal(given, sample.image)
            inside = sample.mask == value
            assert np.array_equal(painted[~inside], given[~inside])
            mixed = (given[inside] + np.array(scheme.colors[value])) / 2
            assert np.abs(painted[inside] - mixed).max() <= 0.5
            assert NAMES[value] in row["edit_prompt"]
    assert next(by_place, None) is None


def test_a_class_has_at_least_eight_phrasings_and_a_sample_always_the_same() -> None:
    drawn = Counter(instruction(seed, 1, "hair") for seed in range(400))
    assert len(drawn) == len(PHRASINGS) >= 8
    assert "place a translucent mask over the hair" in drawn
    assert max(drawn.values()) < 100, "none is drawn much more often than the others"
    assert [instruction(seed, 1, "hair") for seed in range(9)] == [instruction(seed, 1, "hair") for seed in range(9)]

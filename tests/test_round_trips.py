"""What is exported comes in again by the import of the same format: the same images, the same masks."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exporting import NAMES, make_dataset, random_masks
from PIL import Image

from pipelines import read_shards
from pipelines.formats.into import import_annotations
from pipelines.formats.out import export


def in_folder(out: Path) -> Path:
    return out


def coco_json(out: Path) -> Path:
    (path,) = (path for path in out.rglob("*.json") if not path.name.startswith("."))
    return path


def corrected(out: Path) -> Path:
    """As a person leaves them who accepts each prediction of Label Studio's."""
    tasks = json.loads((out / "tasks.json").read_text("utf-8"))
    for task in tasks:
        task["annotations"] = task.pop("predictions")
    (out / "corrected.json").write_text(json.dumps(tasks), "utf-8")
    return out / "corrected.json"


def unpacked(out: Path) -> Path:
    with zipfile.ZipFile(out / "annotations.zip") as file:
        file.extractall(out / "unpacked")
    return out / "unpacked"


@pytest.mark.parametrize(
    ("sent_as", "read_as", "place", "instances"),
    [
        ("coco", "coco", coco_json, False),
        ("coco", "coco", coco_json, True),
        ("voc", "voc", in_folder, False),
        ("mmsegmentation", "voc", in_folder, False),
        ("yolo", "yolo", in_folder, False),
        ("huggingface", "huggingface", in_folder, False),
        ("labelme", "labelme", in_folder, False),
        ("label-studio", "label-studio", corrected, False),
        ("cvat", "cvat-masks", unpacked, False),
    ],
)
def test_what_goes_out_comes_in_as_it_was(
    tmp_path: Path, sent_as: str, read_as: str, place: Callable[[Path], Path], instances: bool
) -> None:
    folder = make_dataset(tmp_path / "dataset", random_masks(5))
    export(folder, tmp_path / "out", sent_as, workers=1, instances=instances)
    scheme = tmp_path / "scheme.toml"
    scheme.write_text(f"classes = {json.dumps(NAMES, ensure_ascii=False)}", "utf-8")
    images = next((path for path in (tmp_path / "out").rglob("*") if path.is_dir() and any(path.glob("*.png"))), None)
    import_annotations(
        read_as,
        str(place(tmp_path / "out")),
        tmp_path / "in",
        scheme=scheme,
        images=images if read_as == "cvat-masks" else None,
        unlabelled=None if read_as == "cvat-masks" else "ignore",
    )
    came = {pixels(path): path.with_name(f"{path.stem}.mask.png") for path in images_in(tmp_path / "in")}
    for sample in read_shards(folder):
        mask = np.asarray(Image.open(came[sample.image.tobytes()]))
        sent = np.where(sample.mask == 255, 0, sample.mask) if read_as == "cvat-masks" else sample.mask
        assert np.array_equal(mask, sent), "CVAT knows no unlabelled pixels; all others come back as they were"


def images_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.png")) if not path.name.endswith(".mask.png")]


def pixels(path: Path) -> bytes:
    return np.asarray(Image.open(path)).tobytes()

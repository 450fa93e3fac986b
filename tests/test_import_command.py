"""`datasetddpm import`, and what is said where paths.annotated names another tool's annotations."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import datasets
import numpy as np
import pytest
import test_import_coco
import test_import_cvat
import test_import_folders
import test_import_label_studio
import test_import_labelme
from foreign import photograph
from test_import_label_studio import stroke, task
from test_import_labelme import shape

from label import load_annotations
from pipelines.cli import imports
from pipelines.formats.into import READERS
from pipelines.recognised import recognised

SQUARE = np.zeros((16, 16), bool)
SQUARE[4:10, 4:10] = True
ROOT = Path(__file__).parent.parent


def labelme(folder: Path) -> Path:
    for name in ("a", "b"):
        image = photograph(folder / f"{name}.png", 16, 16)
        test_import_labelme.drawn(image, shape("cat", [[2, 2], [8, 8]], "rectangle"), size=(16, 16))
    return folder


def coco(folder: Path) -> Path:
    return test_import_coco.written(folder, [{"segmentation": test_import_coco.rle(SQUARE)}], width=16, height=16)


def label_studio(folder: Path) -> Path:
    photograph(folder / "a.png", 16, 16)
    return test_import_label_studio.written(folder, task([stroke(SQUARE, "cat"), stroke(~SQUARE, "dog", "r2")]))


def cvat(folder: Path) -> Path:
    photograph(folder / "a.png", 16, 16)
    box = test_import_cvat.element("box", xtl=1, ytl=1, xbr=8, ybr=8)
    return test_import_cvat.written(folder, box, width=16, height=16)


def voc(folder: Path) -> Path:
    photograph(folder / "JPEGImages" / "a.png", 16, 16)
    test_import_folders.save(SQUARE.astype(np.uint8), folder / "SegmentationClass" / "a.png")
    return folder


def yolo(folder: Path) -> Path:
    test_import_folders.yolo(folder, "0 0.1 0.1 0.5 0.1 0.5 0.5")
    photograph(folder / "images" / "train" / "a.jpg", 16, 16)
    return folder


def huggingface(folder: Path) -> Path:
    image = str(photograph(folder / "photos" / "a.png", 16, 16))
    mask = str(test_import_folders.save(SQUARE.astype(np.uint8), folder / "photos" / "b.png"))
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    datasets.Dataset.from_dict({"image": [image], "mask": [mask]}, features).save_to_disk(str(folder / "saved"))
    return folder / "saved"


SOURCES = {
    "labelme": labelme,
    "coco": coco,
    "label-studio": label_studio,
    "cvat": cvat,
    "voc": voc,
    "yolo": yolo,
    "huggingface": huggingface,
}


def source(format_name: str, folder: Path) -> Path:
    folder.mkdir()
    return SOURCES[format_name](folder)


@pytest.mark.parametrize("format_name", SOURCES)
def test_a_recipe_that_names_annotations_of_another_tool_is_told_the_command_that_makes_it_run(
    format_name, project, command
):
    place = source(format_name, project / "drawings")
    said = command("fit", project / "recipe.toml", "--set", f'paths.annotated="{place}"', code=2)
    assert len(said.strip().splitlines()) == 1
    line = said.partition("`datasetddpm ")[2].partition("`")[0]
    assert line.startswith(f"import {format_name} {place} --out ")
    out = Path(line.rpartition(" ")[2])
    assert f"name {out} in its place" in said
    assert "annotated images of 2 classes" in command(*line.split())
    assert len(load_annotations(out, (16, 16)).names) == (2 if format_name == "labelme" else 1)
    checked = command("check", project / "recipe.toml", "--set", f'paths.annotated="{out}"')
    assert "wrong paths.annotated" not in " ".join(checked.split())


def test_check_says_the_same(project, command):
    place = source("coco", project / "drawings")
    said = command("check", project / "recipe.toml", "--set", f'paths.annotated="{place}"', code=2)
    assert "run `datasetddpm import coco " in " ".join(said.split())


@pytest.mark.parametrize("content", ["{", "[]", "[3]", "{}", '{"a": 1}', "\udcff"])
def test_other_files_are_not_taken_for_annotations(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content.encode(errors="surrogateescape"))
    (tmp_path / "a.xml").write_text("<svg/>")
    assert recognised(tmp_path) == recognised(tmp_path / "a.json") == recognised(tmp_path / "gone") == ""


def test_the_command_says_what_it_made_and_what_comes_next(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labelme(tmp_path / "in")
    said = command("import", "labelme", "in", "--out", "annotated")
    assert "import: made 2 annotated images of 2 classes in annotated (" in said
    assert "next: let paths.annotated name annotated, then: datasetddpm check RECIPE" in said


def test_a_mistake_ends_in_one_sentence_and_exit_code_2(tmp_path, command):
    labelme(tmp_path / "in")
    (tmp_path / "in" / "a.png").unlink()
    said = command("import", "labelme", tmp_path / "in", "--out", tmp_path / "out", code=2)
    assert said.startswith(f"datasetddpm: {tmp_path / 'in'}: a.json names the image a.png, which is not in")
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_npz_becomes_shards_as_by_import_npz(tmp_path, command):
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.arange(256).reshape(4, 8, 8).astype(np.uint8) % 3
    np.savez(tmp_path / "set.npz", images, labels, np.zeros(4))
    command("import-npz", tmp_path / "set.npz", "--out", tmp_path / "one", "--unit-size", "2")
    said = command("import", "npz", tmp_path / "set.npz", "--out", tmp_path / "two", "--unit-size", "2")
    assert "made 4 labelled images in 2 shards" in said
    shards = [sorted((tmp_path / name).glob("*.tar")) for name in ("one", "two")]
    assert len(shards[0]) == 2
    assert [path.read_bytes() for path in shards[0]] == [path.read_bytes() for path in shards[1]]
    refused = command("import", "npz", tmp_path / "set.npz", "--out", tmp_path / "x", "--split", "train", code=2)
    assert "--split says nothing of npz; leave it out" in refused


def test_the_help_names_every_format(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = " ".join(command("import", "--help").split())
    assert all(f"{name}, " in said or f"{name};" in said for name in READERS)
    assert "or npz" in said


def test_every_optional_package_is_an_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"coco", "label-studio", "huggingface"} <= set(extras)


def test_help_and_mistakes_wait_for_none_of_the_formats_libraries():
    heavy = ["torch", "ray", "pyarrow", "datasets", "pycocotools", "label_studio_sdk", "yaml", "pipelines.formats.into"]
    code = f"import sys, {imports.__name__}; print([name for name in {json.dumps(heavy)} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True).stdout == b"[]\n"

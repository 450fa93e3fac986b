import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from deeplab import ExportError, OnnxModel, build, export_onnx, predict


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model = build(3, encoder="mobilenet_v2", encoder_depth=3, decoder_channels=8, class_names=["sky", "sea", "sun"])
    assert export_onnx(model, path, (20, 36)) < 1e-4
    return path


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_images_gets_the_masks_that_torch_gives(exported: Path, count: int) -> None:
    model = build(3, encoder="mobilenet_v2", encoder_depth=3, decoder_channels=8)
    images = np.random.default_rng(0).integers(0, 256, (count, 20, 36, 3), dtype=np.uint8)
    assert (OnnxModel.open(exported).predict(images) == predict(model, images)).mean() > 0.999


def test_the_file_says_its_classes_normalisation_and_size(exported: Path) -> None:
    about = {prop.key: prop.value for prop in onnx.load(exported).metadata_props}
    assert json.loads(about["classes"]) == ["sky", "sea", "sun"]
    assert json.loads(about["mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(about["std"]) == [0.229, 0.224, 0.225]
    assert OnnxModel.open(exported).size == (20, 36)


def test_a_file_of_a_scaled_network_enlarges_images_itself(tmp_path: Path) -> None:
    model = build(3, encoder="mobilenet_v2", encoder_depth=3, decoder_channels=8, variant="v3+", scale=2)
    export_onnx(model, str(tmp_path / "scaled.onnx"), (20, 36))
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 36, 3), dtype=np.uint8)
    assert (OnnxModel.open(str(tmp_path / "scaled.onnx")).predict(images) == predict(model, images)).mean() > 0.999


def test_nothing_is_left_beside_the_file(exported: Path) -> None:
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]


def test_a_file_that_is_no_exported_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    with pytest.raises(ExportError, match=r"a.onnx is no network that `datasetddpm export-model` wrote"):
        OnnxModel.open(tmp_path / "a.onnx")


def test_the_network_that_is_exported_stays_as_it_is(tmp_path: Path) -> None:
    model = build(3, encoder="mobilenet_v2", encoder_depth=3, decoder_channels=8).train()
    export_onnx(model, tmp_path / "model.onnx", (16, 16))
    assert model.training

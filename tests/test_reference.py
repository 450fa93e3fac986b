import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from label import Interpreter, InterpreterError, Scheme

GOLDEN = Path(__file__).parent / "golden"
CLASSES = {"interpreter_small": 21, "interpreter_wide": 34}


class GoldenFeatures:
    """The recorded features, in front of one image of their size."""

    digest = "golden"

    def __init__(self, name: str) -> None:
        recorded = np.load(GOLDEN / f"{name}.npz")
        self.image_size = tuple(recorded["size"].tolist())
        self.channels = recorded["features"].shape[1]
        self._map = torch.from_numpy(recorded["features"]).T.reshape(1, self.channels, *self.image_size)

    def maps(self, images: np.ndarray) -> list[torch.Tensor]:
        return [self._map.expand(len(images), -1, -1, -1)]

    def save_pretrained(self, folder: Path) -> None:
        (folder / "features.json").write_text("{}")


def scheme(classes: int) -> Scheme:
    return Scheme(tuple(f"class {i}" for i in range(classes)))


@pytest.fixture
def folder(tmp_path):
    return published(tmp_path, "interpreter_small")


def published(folder: Path, name: str) -> Path:
    """The golden members as a published folder holds them."""
    for member in range(3):
        shutil.copy(GOLDEN / f"{name}_model_{member}.pth", folder / f"model_{member}.pth")
    return folder


def refused(folder: Path, match: str, classes: int = 21) -> None:
    with pytest.raises(InterpreterError, match=match):
        Interpreter.from_reference(folder, GoldenFeatures("interpreter_small"), scheme=scheme(classes))


@pytest.mark.parametrize("name", CLASSES)
def test_published_classifiers_label_as_published(name, tmp_path):
    features, golden = GoldenFeatures(name), np.load(GOLDEN / f"{name}.npz")
    interpreter = Interpreter.from_reference(published(tmp_path, name), features, scheme=scheme(CLASSES[name]))
    labels = interpreter.predict(np.zeros((1, *features.image_size, 3), dtype=np.uint8))
    assert np.array_equal(labels.masks[0], golden["labels"])
    assert np.abs(labels.pixel_uncertainty[0] - golden["js"]).max() < 1e-5
    assert abs(float(labels.uncertainty[0]) - float(golden["uncertainty"])) < 1e-5


def test_published_classifiers_are_saved_as_an_interpreter(folder, tmp_path):
    features = GoldenFeatures("interpreter_small")
    opened = Interpreter.from_reference(folder, features, scheme=scheme(21), upsampling="nearest")
    opened.save_pretrained(tmp_path / "saved")
    again = Interpreter.from_pretrained(tmp_path / "saved", features)
    assert (again.digest, again.upsampling) == (opened.digest, "nearest")


def test_a_folder_may_be_given_as_text(folder):
    features = GoldenFeatures("interpreter_small")
    opened = [Interpreter.from_reference(place, features, scheme=scheme(21)) for place in (folder, str(folder))]
    assert opened[0].digest == opened[1].digest


def test_members_are_taken_in_the_order_of_their_numbers(folder):
    weights = torch.load(folder / "model_2.pth", weights_only=True)
    for member in range(3, 11):
        torch.save(weights, folder / f"model_{member}.pth")
    weights["model_state_dict"]["module.layers.6.bias"].fill_(7)
    torch.save(weights, folder / "model_10.pth")
    opened = Interpreter.from_reference(folder, GoldenFeatures("interpreter_small"), scheme=scheme(21))
    assert opened.classifiers.members == 11
    assert (opened.classifiers.linear_3.bias == 7).all(1).tolist() == [False] * 10 + [True]


def test_a_member_that_is_missing_is_named(folder):
    (folder / "model_1.pth").rename(folder / "elsewhere")
    refused(folder, r"holds model_2\.pth, but not model_1\.pth; copy all members")
    (folder / "elsewhere").rename(folder / "model_1.pth")
    Interpreter.from_reference(folder, GoldenFeatures("interpreter_small"), scheme=scheme(21))


def test_a_folder_without_members_is_refused(tmp_path):
    refused(tmp_path, r"holds no model_0\.pth")


def test_other_classes_are_refused(folder):
    refused(folder, r"model_0\.pth .* module\.layers\.6\.weight is \[21, 32\], and 20 classes on 48 .* \[20, 32\]", 20)


def test_other_features_are_refused(folder):
    features = GoldenFeatures("interpreter_small")
    features.channels = 50
    with pytest.raises(InterpreterError, match=r"is \[128, 48\], and 21 classes on 50 channels need \[128, 50\]"):
        Interpreter.from_reference(folder, features, scheme=scheme(21))


class _Code:
    def __reduce__(self):
        return print, ("this would be run",)


def test_a_file_with_code_in_it_is_not_opened(folder, capsys):
    torch.save({"model_state_dict": _Code()}, folder / "model_1.pth")
    refused(folder, r"model_1\.pth holds more than tensors")
    assert capsys.readouterr().out == ""


def test_a_file_that_is_cut_short_is_refused(folder):
    path = folder / "model_1.pth"
    path.write_bytes(path.read_bytes()[:5000])
    refused(folder, r"model_1\.pth .*cut short")


@pytest.mark.parametrize("content", [{"state": {}}, torch.zeros(3), 7])
def test_a_file_without_a_state_dict_is_refused(folder, content):
    torch.save(content, folder / "model_2.pth")
    refused(folder, r"model_2\.pth is no published classifier: it has no model_state_dict")


def test_a_state_dict_of_another_network_is_refused(folder):
    torch.save({"model_state_dict": {"weight": torch.zeros(2)}}, folder / "model_0.pth")
    refused(folder, r"model_0\.pth is no published classifier: it has no tensor module\.layers\.0\.weight")

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import content, copy_of
from PIL import Image

import deeplab
from deeplab import OnnxModel
from deeplab.images import normalise
from label import Scheme

Command = Callable[..., str]
NAMES = ["ground", "square", "dot"]


@pytest.fixture(scope="module")
def exported(command: Command, finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command wrote of a network that was trained on the dataset, images enlarged twice."""
    project = copy_of(finished_once, tmp_path_factory.mktemp("exported") / "project")
    recipe = project / "recipe.toml"
    changed = recipe.read_text().replace('"mobilenet_v2"', '"resnet18"').replace("baseline = true", "scale = 2")
    recipe.write_text(changed)
    command("train", recipe)
    path = project / "models" / "model.onnx"
    path.parent.mkdir()
    said = command("export-model", recipe, "--onnx", path)
    assert "made an ONNX file of synthetic-seed0" in said
    assert f"next: datasetddpm segment --model {path}" in said
    return path


@pytest.fixture(scope="module")
def network(exported: Path) -> deeplab.DeepLab:
    return deeplab.load(exported.parent.parent / "out" / "deeplab" / "synthetic-seed0")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image that is twice as wide as the network's, and half as high again."""
    path = tmp_path / "photos" / "photo.png"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(path)
    return path


def test_an_exported_networks_logits_are_those_of_torch(exported: Path, network: deeplab.DeepLab) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = network(normalise(torch.tensor(images))).numpy()
    np.testing.assert_allclose(OnnxModel.open(exported).logits(images), expected, atol=1e-4, rtol=0)


def test_an_exported_file_suffices_with_the_runtime_alone(exported: Path, network: deeplab.DeepLab) -> None:
    """As someone uses it who has neither torch nor this package: all that is needed is in the metadata."""
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    about = {key: json.loads(session.get_modelmeta().custom_metadata_map[key]) for key in ("classes", "mean", "std")}
    assert about["classes"] == NAMES
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    seen = ((image / 255 - about["mean"]) / about["std"]).astype(np.float32).transpose(2, 0, 1)
    (logits,) = session.run(["logits"], {"images": seen[None]})
    assert np.array_equal(np.asarray(logits)[0].argmax(0), deeplab.predict(network, image[None])[0])


def test_nothing_but_the_file_is_left_beside_it(exported: Path) -> None:
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]


def test_an_image_is_segmented_by_the_file_as_by_the_network(
    exported: Path, network: deeplab.DeepLab, photo: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "made"
    assert "segment: made masks of 1 images" in command("segment", "--model", exported, photo, "--out", out)
    with Image.open(photo) as image:
        small = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
        pixels = np.asarray(image)
    expected = np.repeat(deeplab.predict(network, small[None])[0], 2, axis=1)  # 16 columns become 32
    expected = expected[np.arange(24) * 16 // 24]  # and 16 rows 24
    with Image.open(out / "photo.mask.png") as mask:
        assert np.array_equal(np.asarray(mask), expected)
        assert mask.getpalette() == Scheme(tuple(NAMES)).palette
        colours = np.asarray(mask.convert("RGB"))
    with Image.open(out / "photo.overlay.png") as overlay:
        assert np.abs(np.asarray(overlay) - (pixels / 2 + colours / 2)).max() <= 1
    assert json.loads((out / "photo.json").read_text()) == {
        "image": str(photo),
        "size": [32, 24],
        "model": str(exported),
        "shares": {name: float((expected == i).mean()) for i, name in enumerate(NAMES)},
    }
    assert len(list(out.iterdir())) == 3


def test_a_broken_image_is_named_the_rest_is_segmented_and_the_exit_code_is_1(
    exported: Path, photo: Path, tmp_path: Path, command: Command
) -> None:
    (photo.parent / "cut.png").write_bytes(photo.read_bytes()[:60])
    said = command("segment", "--model", exported, photo.parent, "--out", tmp_path / "made", code=1)
    assert f"{photo.parent / 'cut.png'} is no image that can be read" in said
    assert {path.name.partition(".")[0] for path in (tmp_path / "made").iterdir()} == {"photo"}


def another_network(path: Path, **about: object) -> None:
    """A network of another program's: it adds an image to itself; `about` is its metadata."""
    shape = ["batch", 3, 16, 16]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("images", "logits")]
    add = onnx.helper.make_node("Add", ["images", "images"], ["logits"])
    graph = onnx.helper.make_graph([add], "sum", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in about.items()})
    onnx.save(model, path)


@pytest.mark.parametrize(
    "harm", ["gone", "empty", "text", "cut", "folder", "another", "another, of a size", "another, of no classes"]
)
def test_a_file_that_is_no_such_network_is_said_so_in_one_sentence(
    exported: Path, photo: Path, tmp_path: Path, command: Command, harm: str
) -> None:
    path = tmp_path / "a.onnx"
    if harm == "folder":
        path.mkdir()
    elif harm == "another":
        another_network(path)
    elif harm == "another, of a size":
        another_network(path, classes=NAMES, size=16)
    elif harm == "another, of no classes":
        another_network(path, classes=3, size=[16, 16])
    elif harm != "gone":
        whole = exported.read_bytes()
        path.write_bytes({"empty": b"", "text": b"nothing\n", "cut": whole[: len(whole) // 2]}[harm])
    said = command("segment", "--model", path, photo, "--out", tmp_path / "made", code=2)
    assert said.splitlines() == [
        f"datasetddpm: {path} is no network that `datasetddpm export-model` wrote; export one with --onnx"
    ]
    assert not (tmp_path / "made").exists()
    if harm == "empty":  # what `exported` ran, writes another
        path.write_bytes(exported.read_bytes())
        command("segment", "--model", path, photo, "--out", tmp_path / "made")


@pytest.mark.parametrize("option", [("--fit", "tile"), ("--set", "generate.steps=1")])
def test_what_only_a_recipe_decides_is_refused_beside_a_model(
    exported: Path, photo: Path, tmp_path: Path, command: Command, option: tuple[str, str]
) -> None:
    said = command("segment", "--model", exported, photo, "--out", tmp_path / "made", *option, code=2)
    assert said.startswith("datasetddpm: --fit and --set go with a recipe")
    assert not (tmp_path / "made").exists()


def test_masks_are_never_written_beside_the_images(exported: Path, photo: Path, command: Command) -> None:
    before = content(photo.parent)
    said = command("segment", "--model", exported, photo, "--out", photo.parent, code=2)
    assert "holds photo.png itself; name another folder, so that no file there is overwritten" in said
    assert content(photo.parent) == before


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        ("untrained", "synthetic-seed0 holds no network that was trained to its end; run `datasetddpm train "),
        ("cut", "model.safetensors is cut short, or of another network than config.json describes"),
        ("no dataset", "dataset holds no shards; generate a dataset there first"),
        ("no folder", "nowhere is no folder; make it first, or name another file"),
        ("a folder", "annotated is a folder; name a file"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_sentence_and_nothing_is_written(
    finished: Path, command: Command, harm: str, sentence: str
) -> None:
    network, target = finished / "out" / "deeplab" / "synthetic-seed0", finished / "model.onnx"
    if harm == "untrained":
        (network / "stage.json").unlink()
    elif harm == "cut":
        (network / "model.safetensors").write_bytes(b"")
    elif harm == "no dataset":
        for report in (finished / "out" / "dataset").glob("shard-*.json"):
            report.unlink()
    else:
        target = {"no folder": finished / "nowhere" / "model.onnx", "a folder": finished / "annotated"}[harm]
    before = content(finished)
    (said,) = command("export-model", finished / "recipe.toml", "--onnx", target, code=2).splitlines()
    assert sentence in said
    assert content(finished) == before

"""SwAV, SwAVw2 and MAE agree with their public implementations; any backbone of timm is a feature source."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from label import (
    FeatureSource,
    Fitting,
    Interpreter,
    InterpreterError,
    JointFeatures,
    MaeFeatures,
    Scheme,
    SwavFeatures,
    TimmFeatures,
)
from label.pixel_classifiers import PixelClassifiers
from label.saved_sources import open_features
from label.timm_backbone import PRESETS

GOLDEN = Path(__file__).parent / "golden"


def by_rule(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weights of golden/swav*_by_rule, which are not stored: a function of the tensor's name and shape."""
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("running_var"):
        values = 0.1 * np.abs(values) + 1
    elif key.endswith("running_mean"):
        values = 0.1 * values
    elif len(shape) == 1:
        values = 0.1 * values + key.endswith("weight")
    else:
        values = values * np.float32((2 / np.prod(shape[1:])) ** 0.5)
    return torch.from_numpy(np.asarray(values, np.float32))


@pytest.fixture(scope="module", params=["swav", "swavw2"])
def swav(request, tmp_path_factory):
    """The golden numbers of one width, and a file with its weights as it was published."""
    golden = np.load(GOLDEN / f"{request.param}_by_rule.npz")
    pairs = zip(golden["keys"].tolist(), golden["shapes"].tolist(), strict=True)
    state = {key: by_rule(key.removeprefix("module."), tuple(json.loads(shape))) for key, shape in pairs}
    path = tmp_path_factory.mktemp(request.param) / "checkpoint.pth"
    torch.save({"state_dict": state | {"module.prototypes.weight": torch.zeros(3, 2)}, "epoch": 800}, path)
    return golden, path, request.param == "swavw2"


def test_swav_agrees_with_the_public_implementation(swav):
    golden, path, wide = swav
    source = SwavFeatures.from_pretrained(path, wide=wide, image_size=(64, 64))
    maps = source.maps(golden["image"])
    assert source.channels == (13440 if wide else 6720) == sum(m.shape[1] for m in maps)
    for number, native in enumerate(maps):
        assert list(native.shape) == golden[f"map{number}_shape"].tolist()
        row, column = native.shape[2] // 2, native.shape[3] // 3
        for ours, theirs in (
            (native.mean((2, 3)), golden[f"map{number}_mean_c"]),
            (native[0, :, row, column], golden[f"map{number}_pixel"]),
        ):
            assert np.abs(ours.numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max()


def test_mae_agrees_with_the_public_implementation():
    golden = np.load(GOLDEN / "mae_like.npz")
    source = MaeFeatures.from_pretrained(GOLDEN / "mae_like.pth", blocks=int(golden["blocks"]), heads=4)
    maps = source.maps(golden["image"])
    assert len(maps) == 12
    for number, native in enumerate(maps):
        theirs = golden[f"map{number}"]
        assert np.abs(native.numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max()


def test_the_published_mae_has_the_shapes_that_are_opened(monkeypatch, tmp_path):
    shapes = json.loads((GOLDEN / "mae_keys.json").read_text())
    with torch.device("meta"):
        tensors = {key: torch.empty(shape) for key, shape in shapes.items()}
    monkeypatch.setattr("label.mae.stored_tensors_of", lambda *_: tensors)
    path = tmp_path / "mae.pth"
    path.touch()
    source = MaeFeatures.from_pretrained(path)
    assert (source.channels, source.image_size) == (12288, (256, 256))


def test_positions_of_mae_are_interpolated_to_another_size():
    source = MaeFeatures.from_pretrained(GOLDEN / "mae_like.pth", blocks=1, heads=4, image_size=(48, 96))
    assert source.maps(np.zeros((2, 48, 96, 3), np.uint8))[0].shape == (2, 48, 6, 12)


@pytest.mark.parametrize(
    ("name", "layers", "size", "shapes"),
    [
        ("resnet18", (1, 2), (32, 48), [(64, 8, 12), (128, 4, 6)]),
        ("vit_tiny_patch16_224", (0, 11), (32, 32), [(192, 2, 2), (192, 2, 2)]),
        ("vit_small_patch14_dinov2", (3,), (32, 32), [(384, 3, 3)]),  # seen at 42x42
    ],
)
def test_any_timm_backbone_gives_its_maps(name, layers, size, shapes):
    source = TimmFeatures(name, layers=layers, image_size=size)
    maps = source.maps(np.zeros((1, *size, 3), np.uint8))
    assert [tuple(m.shape[1:]) for m in maps] == shapes
    assert source.channels == sum(shape[0] for shape in shapes)


def test_random_weights_are_the_same_at_every_opening():
    first, second = (TimmFeatures("resnet18", layers=(1,), image_size=(32, 32)) for _ in range(2))
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    assert torch.equal(first.maps(image)[0], second.maps(image)[0])
    assert first.digest == second.digest


def test_a_file_of_timms_weights_is_read(tmp_path):
    other = TimmFeatures("resnet18", layers=(4,), image_size=(32, 32))
    state = {key: tensor + 0.01 for key, tensor in other.network.state_dict().items() if tensor.is_floating_point()}
    torch.save(state | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, tmp_path / "weights.pth")
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    read = TimmFeatures("resnet18", layers=(4,), weights=tmp_path / "weights.pth", image_size=(32, 32))
    assert not torch.equal(read.maps(image)[0], other.maps(image)[0])
    assert read.digest != other.digest


def test_presets_are_names_that_timm_knows():
    import timm

    assert {name.partition(".")[0] for name, _ in PRESETS.values()} <= set(timm.list_models())


@pytest.mark.parametrize("kind", ["mae", "timm"])
def test_a_saved_source_opens_again(kind, tmp_path):
    if kind == "mae":
        source = MaeFeatures.from_pretrained(GOLDEN / "mae_like.pth", blocks=2, heads=4, image_size=(32, 32))
    else:
        source = TimmFeatures("resnet18", layers=(1, 3), image_size=(32, 32))
    source.save_pretrained(tmp_path)
    again = open_features(tmp_path)
    assert (again.digest, again.channels, again.image_size) == (source.digest, source.channels, source.image_size)


def test_a_source_whose_weights_changed_is_refused(tmp_path):
    path = tmp_path / "mae.pth"
    path.write_bytes((GOLDEN / "mae_like.pth").read_bytes())
    MaeFeatures.from_pretrained(path, blocks=2, heads=4).save_pretrained(tmp_path)
    stored = torch.load(path, weights_only=True)
    stored["model"]["norm.bias"] += 1
    torch.save(stored, path)
    with pytest.raises(InterpreterError, match="are others than those that the interpreter was fitted on"):
        open_features(tmp_path)


def test_joint_features_are_both_sources_maps_of_a_like_spread():
    mae = MaeFeatures.from_pretrained(GOLDEN / "mae_like.pth", blocks=2, heads=4)
    timm = TimmFeatures("resnet18", layers=(1,), image_size=(64, 64))
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    joint = JointFeatures.scaled([mae, timm], images)
    assert isinstance(joint, FeatureSource)
    maps = joint.maps(images)
    assert joint.channels == 2 * 48 + 64 == sum(m.shape[1] for m in maps)
    spreads = [torch.cat([m.transpose(0, 1).flatten(1).std(1) for m in part]).mean() for part in (maps[:2], maps[2:])]
    assert torch.allclose(torch.stack(spreads), torch.ones(2), atol=1e-4)


def test_an_interpreter_remembers_its_source(tmp_path):
    mae = MaeFeatures.from_pretrained(GOLDEN / "mae_like.pth", blocks=2, heads=4)
    joint = JointFeatures([mae, TimmFeatures("resnet18", layers=(1,), image_size=(64, 64))], [0.5, 2.0])
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[:, 20:] = 1
    fitting = Fitting(members=2, max_batches=3)
    for source in (mae, joint):
        fitted = Interpreter.fit(source, images, masks, classes=Scheme(("sky", "ground")), settings=fitting)
        fitted.save_pretrained(tmp_path / source.digest)
        opened = Interpreter.from_pretrained(tmp_path / source.digest)
        assert opened.digest == fitted.digest
        assert np.array_equal(opened.predict(images).masks, fitted.predict(images).masks)


@pytest.mark.parametrize(
    ("open_it", "sentence"),
    [
        (
            lambda swav: MaeFeatures.from_pretrained(swav),
            r"is no checkpoint of MAE, which holds 'model'; it holds state_dict",
        ),
        (
            lambda swav: SwavFeatures.from_pretrained(GOLDEN / "mae_like.pth"),
            r"no checkpoint of SwAV, which holds 'state_dict'",
        ),
        (
            lambda swav: SwavFeatures.from_pretrained(swav, wide=True),
            r"is not of SwAVw2: \d+ tensors differ \(.*file \(",
        ),
        (
            lambda swav: SwavFeatures.from_pretrained(swav.parent / "nothing.pth"),
            "cannot be read as a checkpoint of SwAV",
        ),
        (
            lambda swav: MaeFeatures.from_pretrained(GOLDEN / "mae_like.pth"),
            "48 wide, and its attention heads are not known",
        ),
        (
            lambda swav: MaeFeatures.from_pretrained(GOLDEN / "mae_like.pth", blocks=15, heads=4),
            "15 blocks were asked for",
        ),
        (lambda swav: TimmFeatures("resnet81"), "timm has no resnet81 .*; near are resnet"),
        (lambda swav: TimmFeatures("resnet18", layers=(1, 9)), r"resnet18 has layers 0 to 4; \[9\] are not among them"),
        (lambda swav: TimmFeatures("resnet18", weights="/nothing.pth"), "timm has no resnet18 with these weights"),
    ],
)
def test_a_mistake_is_one_sentence(swav, open_it, sentence):
    _, path, wide = swav
    if wide:
        path = path.parent / "narrow.pth"
        golden = np.load(GOLDEN / "swav_by_rule.npz")
        pairs = zip(golden["keys"].tolist(), golden["shapes"].tolist(), strict=True)
        torch.save({"state_dict": {k: torch.zeros(json.loads(s)) for k, s in pairs}}, path)
    with pytest.raises(InterpreterError, match=sentence) as refusal:
        open_it(path)
    assert "\n" not in str(refusal.value)


def test_a_missing_tensor_is_named(swav, tmp_path):
    _, path, wide = swav
    stored = torch.load(path, weights_only=True)
    del stored["state_dict"]["module.layer3.1.bn2.bias"]
    torch.save(stored, tmp_path / "cut.pth")
    with pytest.raises(InterpreterError, match=r"1 tensors differ \(layer3.1.bn2.bias: file lacks it"):
        SwavFeatures.from_pretrained(tmp_path / "cut.pth", wide=wide)


def test_labels_through_any_source_are_those_of_features_at_full_size():
    mae = MaeFeatures.from_pretrained(GOLDEN / "mae_like.pth", blocks=3, heads=4)
    source = JointFeatures([mae, TimmFeatures("resnet18", layers=(0, 2), image_size=(64, 64))], [0.5, 2.0])
    classifiers = PixelClassifiers(3, source.channels, 4).eval()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in classifiers.state_dict().items():
        tensor.copy_(
            torch.rand(tensor.shape, generator=generator) * 0.2 + (0.5 if name.endswith("running_var") else -0.1)
        )
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    wide = [F.interpolate(m, (64, 64), mode="bilinear")[0] for m in source.maps(image)]
    with torch.no_grad():
        plain = classifiers(torch.cat(wide).flatten(1).T.expand(3, -1, -1)).unflatten(1, (64, 64))
    (ours,) = Interpreter(source, classifiers, Scheme(tuple("abcd"))).logits(image)
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)

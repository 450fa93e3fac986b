import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deeplab import NetworkError, build, load, predict, save
from deeplab.images import normalise
from deeplab.model import DeepLab

RNG = np.random.default_rng(0)


def small(**changes: Any) -> DeepLab:
    settings: dict[str, Any] = {"encoder": "mobilenet_v2", "encoder_depth": 3, "decoder_channels": 8}
    return build(3, **{**settings, **changes})


def images(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_same_seed_gives_the_same_weights() -> None:
    first = small(seed=4)
    torch.rand(7)  # moves the global generator
    assert same_weights(first, small(seed=4))


def test_another_seed_gives_other_weights() -> None:
    assert not same_weights(small(seed=4), small(seed=5))


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    small()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("variant", ["v3", "v3+"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_every_architecture_gives_a_logit_per_pixel_and_class(variant: Any, output_stride: Any) -> None:
    model = build(5, encoder="resnet18", variant=variant, output_stride=output_stride, decoder_channels=16).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 5, 32, 32)


@pytest.mark.parametrize("variant", ["v3", "v3+"])
def test_predictions_keep_an_odd_image_size(variant: str) -> None:
    masks = predict(small(variant=variant), images(2, 37, 45))
    assert masks.shape == (2, 37, 45)
    assert masks.dtype == np.uint8


@pytest.mark.parametrize("variant", ["v3", "v3+"])
def test_a_scaled_networks_logits_are_means_over_the_enlarged_image(variant: str) -> None:
    plain, scaled = small(variant=variant).eval(), small(variant=variant, scale=3).eval()
    assert same_weights(plain, scaled)
    batch = normalise(torch.from_numpy(images(2, 21, 30)))
    enlarged = torch.nn.functional.interpolate(batch, scale_factor=3, mode="bilinear")
    with torch.inference_mode():
        fine = plain(enlarged)
        means = fine.reshape(2, 3, 21, 3, 30, 3).mean((3, 5))
        torch.testing.assert_close(scaled(batch), means, atol=1e-5, rtol=1e-5)


def test_predictions_do_not_depend_on_the_rest_of_the_batch() -> None:
    model, batch = small(), images(3, 32, 32)
    np.testing.assert_array_equal(predict(model, batch)[1:2], predict(model, batch[1:2]))


def test_predict_takes_read_only_and_flipped_arrays() -> None:
    model, batch = small(), images(1, 32, 32)
    batch.setflags(write=False)
    flipped = batch[:, :, ::-1]
    np.testing.assert_array_equal(predict(model, flipped), predict(model, flipped.copy()))


def test_normalise_gives_imagenets_mean_colour_the_value_zero() -> None:
    colour = torch.tensor([124, 116, 104], dtype=torch.uint8).expand(1, 2, 2, 3)
    assert normalise(colour).shape == (1, 3, 2, 2)
    assert normalise(colour).abs().max() < 0.01


def test_normalise_gives_white_the_values_of_torchvision() -> None:
    white = torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)
    torch.testing.assert_close(normalise(white).flatten(), torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-4, rtol=0)


def test_an_unknown_encoder_names_its_neighbours() -> None:
    with pytest.raises(NetworkError, match=r"no encoder 'resnet19'; there are .*resnet18"):
        build(3, encoder="resnet19")


def test_an_unknown_timm_encoder_is_named() -> None:
    with pytest.raises(NetworkError, match="encoder tu-nothing cannot carry a DeepLabV3"):
        build(3, encoder="tu-nothing")


def test_an_encoder_that_cannot_be_dilated_is_named() -> None:
    with pytest.raises(NetworkError, match="encoder densenet121 cannot carry a DeepLabV3"):
        build(3, encoder="densenet121")


def test_unknown_encoder_weights_name_the_known_ones() -> None:
    with pytest.raises(NetworkError, match=r"resnet18 has no weights 'imagnet'; .* None or one of imagenet"):
        build(3, encoder="resnet18", encoder_weights="imagnet")


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "tu-mobilenetv3_small_050"])
def test_an_encoder_begins_with_that_of_a_network_that_was_kept(encoder: str, tmp_path: Path) -> None:
    first = small(seed=4, encoder=encoder)
    save(first, tmp_path)
    then = small(seed=5, encoder=encoder, encoder_weights=str(tmp_path / "model.safetensors"))
    assert same_weights(first.network.encoder, then.network.encoder)
    assert not same_weights(first.network.decoder, then.network.decoder)


def test_encoder_weights_that_cannot_be_downloaded_name_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise FileNotFoundError("no network")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", offline)
    with pytest.raises(OSError, match=r"could not be downloaded; .* or leave encoder_weights out"):
        build(3, encoder="resnet18", encoder_weights="imagenet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 1}, "2 to 255 fit"),
        ({"classes": 256}, "2 to 255 fit"),
        ({"variant": "v4"}, r"variant is 'v4'; known are v3, v3\+"),
        ({"output_stride": 4}, "output_stride is 4; known are 8, 16"),
        ({"encoder_depth": 2}, "encoder_depth is 2; known are 3, 4, 5"),
        ({"scale": 0}, "scale is 0; images are enlarged by a whole number, 1 or more"),
        ({"class_names": ["sky"]}, "1 class names came for 3 classes"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        build(**{"classes": 3, "encoder": "resnet18", **changes})


def test_a_folder_saved_and_loaded_predicts_the_same(tmp_path: Path) -> None:
    model, batch = small(seed=1), images(2, 32, 32)
    save(model, tmp_path / "new" / "folder")
    np.testing.assert_array_equal(predict(load(tmp_path / "new" / "folder"), batch), predict(model, batch))


def test_a_folder_keeps_architecture_and_class_names(tmp_path: Path) -> None:
    model = small(variant="v3+", class_names=("sky", "earth", "sea"), atrous_rates=(1, 2, 3), scale=2)
    save(model, tmp_path)
    assert load(tmp_path).architecture == model.architecture


def test_a_folder_of_the_first_format_is_of_a_network_without_scale(tmp_path: Path) -> None:
    save(small(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["architecture"]["network"]["scale"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": "deeplabv3-1"}))
    assert load(tmp_path).architecture == small().architecture


def test_a_save_replaces_an_earlier_one(tmp_path: Path) -> None:
    save(small(seed=1), tmp_path)
    save(small(seed=2), tmp_path)
    assert same_weights(load(tmp_path), small(seed=2))


def test_a_save_that_is_cut_short_leaves_no_folder_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: Any) -> None:
        raise OSError("no space left on device")

    save(small(), tmp_path)
    monkeypatch.setattr("deeplab.model.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save(small(), tmp_path)
    with pytest.raises(NetworkError, match=r"holds no config\.json"):
        load(tmp_path)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"nowhere is not a DeepLab folder, it holds no config\.json"):
        load(tmp_path / "nowhere")


def forget_the_encoder(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["architecture"]["network"]["encoder"]
    (folder / "config.json").write_text(json.dumps(config))


def widen_the_decoder(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["architecture"]["network"]["decoder_channels"] = 9
    (folder / "config.json").write_text(json.dumps(config))


def raise_the_format(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": "deeplabv3-9"}))


def cut_the_weights(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:1000])


def lose_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_the_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (forget_the_encoder, "does not describe a network .* 'encoder'"),
        (raise_the_format, "its format is deeplabv3-9, this code reads deeplabv3-1"),
        (cut_the_config, "does not describe a network"),
        (lose_the_weights, r"holds no model\.safetensors"),
        (cut_the_weights, "is cut short, or of another network"),
        (widen_the_decoder, "is cut short, or of another network"),
    ],
)
def test_a_harmed_folder_is_one_sentence(tmp_path: Path, harm: Callable[[Path], None], message: str) -> None:
    save(small(), tmp_path)
    harm(tmp_path)
    with pytest.raises(NetworkError, match=message):
        load(tmp_path)

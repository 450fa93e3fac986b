"""What an interpreter reads an image through, where a latent diffusion model reads."""

import json
from pathlib import Path
from typing import Any

import latent_models
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from generate import GenerateError, LatentModel
from generate.activations import Where
from label import Fitting, Interpreter, InterpreterError, LabelError, LatentFeatures, Scheme
from label.identity import stored_interpreter
from label.saved_sources import open_features

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def with_words(tmp_path_factory: pytest.TempPathFactory) -> LatentModel:
    return LatentModel.from_pretrained(
        latent_models.saved(latent_models.stable_diffusion(), tmp_path_factory.mktemp("sd"))
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> LatentModel:
    return LatentModel.from_pretrained(latent_models.saved(latent_models.plain(), tmp_path_factory.mktemp("ldm")))


def test_the_last_blocks_map_is_what_the_unets_last_norm_is_given(with_words: LatentModel) -> None:
    features = LatentFeatures(with_words, steps=[10, 300], blocks=[3], prompt="a cow")
    unet: Any = with_words.unet
    coder: Any = with_words.autoencoder
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 127.5 - 1
    x_0 = coder.encode(pixels).latent_dist.mode() * coder.config.scaling_factor
    schedule = DDPMScheduler.from_config(with_words.scheduler)
    assert isinstance(schedule, DDPMScheduler)
    given: list[torch.Tensor] = []
    handle = unet.conv_norm_out.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    told = with_words.embedded(["a cow"] * 2)
    for t in (10, 300):
        x_t = schedule.add_noise(x_0, features.noise.expand(2, -1, -1, -1), torch.tensor([t, t]))  # type: ignore[arg-type]
        unet(x_t, t, encoder_hidden_states=told)
    handle.remove()
    for native, expected in zip(features.maps(IMAGES), given, strict=True):
        torch.testing.assert_close(native, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("where", ["output", "input"])
def test_maps_come_by_step_then_block_with_as_many_channels_as_are_said(
    where: Where, with_words: LatentModel, plain: LatentModel
) -> None:
    for model in (with_words, plain):
        features = LatentFeatures(model, steps=[10, 300], blocks=[1, 2], where=where)
        maps = features.maps(IMAGES)
        assert sum(native.shape[1] for native in maps) == features.channels
        alone = LatentFeatures(model, steps=[300], blocks=[2], where=where, noise=features.noise).maps(IMAGES)
        torch.testing.assert_close(maps[3], alone[0], atol=1e-5, rtol=1e-5)
        assert features.image_size == (16, 16)


def test_the_prompt_is_read_and_named_by_the_digest(with_words: LatentModel) -> None:
    silent, told = LatentFeatures(with_words, blocks=[3]), LatentFeatures(with_words, blocks=[3], prompt="a horse")
    assert silent.digest != told.digest
    assert not torch.allclose(silent.maps(IMAGES)[0], told.maps(IMAGES)[0], atol=1e-4)


def test_an_interpreter_on_a_latent_model_is_opened_again_and_labels_alike(
    with_words: LatentModel, tmp_path: Path
) -> None:
    features = LatentFeatures(with_words, steps=[50], blocks=[1, 2, 3], prompt="a cow")
    masks = (IMAGES[..., 0] > 127).astype(np.uint8)
    settings = Fitting(members=2, max_batches=8, min_class_pixels=1)
    classes = Scheme(("dark", "light"))
    interpreter = Interpreter.fit(features, IMAGES, masks, classes=classes, settings=settings)
    interpreter.save_pretrained(tmp_path)
    again = Interpreter.from_pretrained(tmp_path)
    assert isinstance(again.features, LatentFeatures)
    assert np.array_equal(again.predict(IMAGES).masks, interpreter.predict(IMAGES).masks)
    assert stored_interpreter(tmp_path, with_words.digest).digest == interpreter.digest == again.digest


def test_features_of_another_model_or_of_none_are_refused(
    with_words: LatentModel, plain: LatentModel, tmp_path: Path
) -> None:
    LatentFeatures(with_words, blocks=[3]).save_pretrained(tmp_path)
    assert open_features(tmp_path).digest == LatentFeatures(with_words, blocks=[3]).digest
    with pytest.raises(InterpreterError, match="was fitted on denoiser"):
        LatentFeatures.from_pretrained(tmp_path, plain)
    record = json.loads((tmp_path / "features.json").read_text())
    (tmp_path / "features.json").write_text(json.dumps({**record, "prompt": 3}))
    with pytest.raises(InterpreterError, match="prompt: it should be a valid string"):
        open_features(tmp_path)
    del record["prompt"]
    (tmp_path / "features.json").write_text(json.dumps(record))
    with pytest.raises(InterpreterError, match="reads no latent diffusion model"):
        LatentFeatures.from_pretrained(tmp_path)


def test_steps_blocks_prompts_and_noise_that_do_not_fit_are_refused(
    with_words: LatentModel, plain: LatentModel
) -> None:
    with pytest.raises(LabelError, match=r"steps \[1000\]: 0 to 999 are possible"):
        LatentFeatures(with_words, steps=[1000], blocks=[3])
    with pytest.raises(GenerateError, match="this UNet's decoder has blocks 0 to 3"):
        LatentFeatures(with_words, blocks=[4])
    with pytest.raises(GenerateError, match="this model paints without words"):
        LatentFeatures(plain, blocks=[3], prompt="a cow")
    with pytest.raises(LabelError, match=r"the latents of one image are \[1, 4, 8, 8\]"):
        LatentFeatures(with_words, blocks=[3], noise=torch.zeros(1, 3, 16, 16))

"""Numbers are finite, or the run stops and says where: weights when they are opened, losses, the scores of a unit."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import deeplab
from deeplab import DeepLabError
from generate import CheckpointError, Denoiser, GenerateError
from generate.settings import Training
from generate.train import image_paths, train, trainee
from label import DenoiserFeatures, Fitting, Interpreter, LabelError, Scheme
from pipelines import Recipe
from pipelines.dataset.reports import Candidate, Report
from pipelines.dataset.shards import Sample, pack
from pipelines.stages.fit import fit
from pipelines.units.builder import build, planned

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def spoil(file: Path, value: float) -> None:
    """One number of the first tensor becomes this."""
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] = value
    save_file(tensors, file)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_of_a_denoiser_that_are_not_finite_are_named(project: Path, value: float) -> None:
    spoil(project / "model" / WEIGHTS, value)
    with pytest.raises(CheckpointError, match="has a value that is not finite"):
        Denoiser.from_pretrained(project / "model")


@pytest.mark.parametrize("stage", ["sample", "fit"])
def test_one_nan_in_the_weights_ends_a_stage_in_one_sentence(
    project: Path, command: Callable[..., str], stage: str
) -> None:
    spoil(project / "model" / WEIGHTS, math.nan)
    (said,) = command(stage, project / "recipe.toml", code=2).splitlines()
    assert "has a value that is not finite" in said


def test_an_interpreter_with_nan_is_refused(finished: Path) -> None:
    folder = finished / "out" / "interpreter"
    spoil(folder / "interpreter.safetensors", math.nan)
    features = DenoiserFeatures.from_pretrained(folder)
    with pytest.raises(LabelError, match="not finite; fit the interpreter again"):
        Interpreter.from_pretrained(folder, features)


def test_a_fit_whose_loss_is_not_finite_stops_at_its_batch(tiny_denoiser: Denoiser) -> None:
    features = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[3])
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    masks = np.arange(512, dtype=np.uint8).reshape(2, 16, 16) % 2
    settings = Fitting(members=2, batch_size=32, learning_rate=1e38, max_epochs=20, min_class_pixels=1)
    with pytest.raises(LabelError, match=r"the loss is .* at batch|is not finite"):
        Interpreter.fit(features, images, masks, classes=Scheme(("a", "b")), settings=settings)


def test_a_training_of_a_network_whose_loss_is_not_finite_stops_at_its_step() -> None:
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8), rng.integers(0, 2, (2, 16, 16), dtype=np.uint8)
    model = deeplab.build(2, encoder="mobilenet_v2", encoder_depth=3, decoder_channels=8)
    with pytest.raises(DeepLabError, match="the loss is nan at step"):
        list(deeplab.fit(model, [batch] * 30, steps=30, learning_rate=1e30))


def test_a_network_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    model = deeplab.build(2, encoder="mobilenet_v2", encoder_depth=3, decoder_channels=8)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(DeepLabError, match="not finite"):
        deeplab.save(model, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_training_of_a_denoiser_whose_loss_is_not_finite_stops_at_its_update(
    tiny_denoiser: Denoiser, tmp_path: Path
) -> None:
    for i in range(3):
        Image.fromarray(np.full((16, 16, 3), 80 * i, dtype=np.uint8)).save(tmp_path / f"{i}.png")
    settings = Training(updates=30, batch_size=2, warmup=1, learning_rate=1e38)
    tiny_denoiser.unet.requires_grad_(True).train()
    state = trainee(tiny_denoiser.unet, settings)
    with pytest.raises(GenerateError, match="the loss is nan at update"):
        list(train(state, tiny_denoiser.schedule, image_paths(tmp_path), settings, tmp_path / "c.pt"))


def test_a_unit_of_which_a_score_is_not_finite_is_not_committed(project: Path) -> None:
    recipe = Recipe.load(project / "recipe.toml")
    fit(recipe)
    path = project / "out" / "interpreter" / "interpreter.safetensors"
    tensors = load_file(path)
    save_file({name: torch.full_like(tensor, 3e38) for name, tensor in tensors.items()}, path)  # finite, their sums not
    make = build(planned(recipe))
    with pytest.raises(FloatingPointError, match="the uncertainty of seed 0 is"):
        make(0)
    assert not list((project / "out" / "dataset").glob("shard-*"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_report_and_no_sample_holds_what_json_does_not_know(value: float) -> None:
    report = Report(0, "d", {"kept": 1, "dropped": 0}, {}, 1, "s", [Candidate(0, True, 0.5, [1, 1])])
    assert json.loads(report.content())["candidates"][0]["uncertainty"] == 0.5
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(report, candidates=[Candidate(0, True, value, [1, 1])]).content()
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="not JSON compliant"):
        pack([Sample(0, picture, picture[..., 0], value, {})], Scheme(("a", "b")))

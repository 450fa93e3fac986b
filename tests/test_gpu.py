"""What can be known of a GPU without one: where the host would wait for it, and that nothing lies on a wrong device."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import make_unet
from pretended_gpu import PretendedGPU
from torch import nn

import deeplab
import deeplab.trainer
from deeplab import Optimisation
from deeplab.images import _imagenet
from deeplab.trainer import Trainee
from generate import Denoiser, Schedule, Solver, sample, spaced_timesteps, trajectory
from label import DenoiserFeatures, Fitting, Interpreter, Scheme
from label.fitting import fit_members, labelled_pixels
from label.pixel_classifiers import PixelClassifiers
from label.pixel_source import PixelSource
from label.tiles import _Axis
from pipelines.dataset.manifest import Dataset
from pipelines.sections.generate import GenerateSection
from pipelines.units.images import denoiser_images
from pipelines.units.unit import make_unit

SCHEME = Scheme(("background", "square"))


@pytest.fixture
def gpu() -> Iterator[PretendedGPU]:
    kept_for_devices = (_Axis.of, _imagenet)
    for kept in kept_for_devices:
        kept.cache_clear()
    with PretendedGPU() as pretended:
        yield pretended
    for kept in kept_for_devices:
        kept.cache_clear()  # or the tests of a real GPU would be given the pretended one's


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def denoiser_on_gpu(variance: str = "fixed_small") -> Denoiser:
    with torch.device("cuda"), default_dtype(torch.bfloat16):
        unet: Any = make_unet(6 if variance == "learned_range" else 3)
    unet.to = lambda **_: unet  # tensors without contents cannot be laid out anew
    schedule = Schedule(Schedule.named("cosine", "epsilon").betas, "epsilon", variance)  # type: ignore[arg-type]
    return Denoiser(unet, schedule, digest="pretended")


@pytest.mark.parametrize("variance", ["fixed_small", "learned_range"])
@pytest.mark.parametrize("solver", [solver for solver in get_args(Solver) if solver != "unipc"])  # diffusers' own waits
def test_the_host_waits_for_a_gpu_in_no_step_of_a_solver(gpu: PretendedGPU, solver: Solver, variance: str) -> None:
    denoiser = denoiser_on_gpu(variance=variance)
    noise = torch.randn(2, 3, 16, 16, device="cuda")
    times = spaced_timesteps(6, denoiser.schedule, solver)
    *_, before = trajectory(denoiser, noise, solver=solver, timesteps=times)  # tables are copied once
    gpu.waits.clear()
    *_, x = trajectory(denoiser, noise, solver=solver, timesteps=times)
    assert gpu.waits == []
    assert (x.device.type, x.dtype, x.shape) == ("cuda", torch.float32, before.shape)


@pytest.mark.parametrize("solver", ["dpmsolver++", "ddpm"])
def test_the_host_waits_for_each_batch_of_samples_once(gpu: PretendedGPU, solver: Solver) -> None:
    denoiser = denoiser_on_gpu()
    images = list(sample(denoiser, range(6), run_seed=0, solver=solver, steps=4, batch_size=2))
    assert [batch.shape for batch in images] == [(2, 16, 16, 3)] * 3
    assert [wait for wait in gpu.waits if "pixels.py" not in wait and "alphas_cumprod" not in wait] == []
    assert len(gpu.waits) == 3 + 1  # and once for the table of noise levels


def interpreter_on_gpu(members: int = 3) -> Interpreter:
    features = DenoiserFeatures(denoiser_on_gpu(), steps=[50, 150], blocks=[1, 2, 3])
    with torch.device("cuda"):
        classifiers = PixelClassifiers(members, features.channels, len(SCHEME))
    return Interpreter(features, classifiers, SCHEME)


def test_of_labels_the_host_waits_for_masks_and_doubts_alone(gpu: PretendedGPU) -> None:
    interpreter = interpreter_on_gpu()
    maps = interpreter.features.maps(np.zeros((4, 16, 16, 3), np.uint8))
    interpreter.label(maps)  # the matrices of the upsampling are copied once
    gpu.waits.clear()
    labels = interpreter.label(maps)
    assert labels.masks.shape == (4, 16, 16)
    assert len(gpu.waits) == 3
    assert all("interpreter.py" in wait for wait in gpu.waits)


def test_a_unit_made_on_a_gpu_waits_for_it_only_where_its_results_come_and_its_inputs_go(
    gpu: PretendedGPU, tmp_path: Path
) -> None:
    interpreter = interpreter_on_gpu()
    assert isinstance(interpreter.features, DenoiserFeatures)
    settings = GenerateSection(samples=8, unit_size=4, batch_size=2, steps=3)
    dataset = Dataset("of all", list(SCHEME.names), [[0, 0, 0], [255, 0, 0]], {}, "denoiser", "interpreter", {})
    source = denoiser_images(interpreter.features.denoiser, settings)
    make = partial(
        make_unit, source=source, interpreter=interpreter, settings=settings, dataset=dataset, folder=tmp_path
    )
    make(0, settings.batch)
    gpu.waits.clear()
    report = make(1, settings.batch)
    assert report.counts == {"kept": 4, "dropped": 0}
    images, noises_and_times, labels = 1, 3, 3
    assert len(gpu.waits) == 2 * (images + noises_and_times + labels)


def pretend_backward(monkeypatch: pytest.MonkeyPatch, network: nn.Module) -> None:
    """Gradients appear without autograd, which runs in a thread that only a real GPU has."""

    def backward(_loss: torch.Tensor) -> None:
        for parameter in network.parameters():
            parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", backward)


def test_a_step_of_a_fit_waits_for_its_loss_alone(gpu: PretendedGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter, settings = interpreter_on_gpu(), Fitting(members=3, batch_size=16, min_class_pixels=1, max_batches=8)
    masks = np.random.default_rng(0).integers(0, 2, (2, 16, 16), dtype=np.uint8)
    source = PixelSource.of(interpreter.features, np.zeros((2, 16, 16, 3), np.uint8), device="cuda")
    pretend_backward(monkeypatch, interpreter.classifiers)
    steps = fit_members(interpreter.classifiers, source, labelled_pixels(masks, 1), settings)
    next(steps)
    gpu.waits.clear()
    assert next(steps).number == 2
    assert len(gpu.waits) == 1


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_step_of_deeplab_waits_for_its_loss_alone(
    gpu: PretendedGPU, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    monkeypatch.setattr(deeplab.DeepLab, "to", lambda self, *_, **__: self)
    with torch.device("cuda"):
        model: Any = deeplab.build(2, variant="v3+", encoder="mobilenet_v2", decoder_channels=16)
    pretend_backward(monkeypatch, model)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())  # generators need a real one, too
    monkeypatch.setattr(deeplab.trainer, "seed_dropout", lambda *_: None)
    masks = np.random.default_rng(0).integers(0, 2, (3 * accumulate, 4, 32, 32), dtype=np.uint8)
    settings = Optimisation(3, precision="float32", accumulate=accumulate)
    trainee = Trainee(model, settings, class_weights=(1.0, 2.0), device="cuda")
    steps = trainee.train((np.zeros((4, 32, 32, 3), np.uint8), each) for each in masks)
    next(steps)
    gpu.waits.clear()
    assert next(steps).number == 2
    assert len(gpu.waits) == 1

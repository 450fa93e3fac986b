"""What only a real GPU can show, on the shipped models and without Ray; elsewhere all of it is skipped."""

import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import deeplab
from deeplab.trainer import Trainee
from generate import Denoiser, Solver, sample, spaced_timesteps, trajectory
from generate.pictures import image_paths
from generate.settings import Training
from generate.train import train, trainee
from label import DenoiserFeatures, Fitting, Interpreter, load_annotations
from pipelines import Recipe, read_shards
from pipelines.stages.fit import fit
from pipelines.units.batch_size import _peak, batch_for
from pipelines.units.builder import build, planned
from pipelines.units.devices import set_up
from pipelines.units.models import Models

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

GPU = "cuda"
DEMO = Path(__file__).parents[1] / "pipelines" / "demo"
MODEL, FACES = DEMO / "model", DEMO / "annotated"
SOLVERS = [solver for solver in get_args(Solver) if solver != "unipc"]  # diffusers' own waits


def recipe_in(folder: Path, *settings: str) -> Recipe:
    """The demo, with a dataset of 80 candidates."""
    small = ("generate.samples=80", "generate.unit_size=80", "generate.batch_size=40")
    return Recipe.load("demo", (f'paths.out="{folder}"', *small, *settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo's interpreter was fitted, on the GPU."""
    folder = tmp_path_factory.mktemp("demo")
    fit(recipe_in(folder))
    return folder


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    return recipe_in(folder)


def waits_of(run: Callable[[], object]) -> int:
    """How often the host waited for the GPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_host_waits_in_no_step_of_a_solver(solver: Solver) -> None:
    denoiser = Denoiser.from_pretrained(MODEL, device=GPU)
    noise = torch.randn(4, *denoiser.image_shape, device=GPU)
    times = spaced_timesteps(6, denoiser.schedule, solver)

    def run() -> None:
        *_, _last = trajectory(denoiser, noise, solver=solver, timesteps=times)

    run()
    assert waits_of(run) == 0


def test_the_host_waits_for_each_batch_of_samples_once() -> None:
    denoiser = Denoiser.from_pretrained(MODEL, device=GPU)

    def run() -> None:
        assert len(list(sample(denoiser, range(12), run_seed=0, solver="dpmsolver++", steps=4, batch_size=4))) == 3

    run()
    assert waits_of(run) == 3


def test_the_host_waits_for_the_labels_of_a_batch_as_often_as_the_documentation_says(recipe: Recipe) -> None:
    interpreter = Models.of(recipe, GPU).interpreter
    images = np.zeros((4, 64, 64, 3), np.uint8)
    interpreter.predict(images)
    assert waits_of(lambda: interpreter.predict(images)) == 6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_unit_that_is_made_again_has_the_same_bytes(folder: Path, tmp_path: Path, dtype: str) -> None:
    digests = set()
    for name in ("first", "second"):
        recipe = recipe_in(folder, f'denoiser.dtype="{dtype}"', f'paths.dataset="{tmp_path / name}"')
        digests.add(build(planned(recipe))(0).sha256)
    assert len(digests) == 1


def test_a_gpu_paints_and_labels_as_a_processor_does(folder: Path, tmp_path: Path) -> None:
    samples = {}
    for device in ("cpu", GPU):
        few = ("generate.samples=20", "generate.unit_size=20", "generate.portion=0", "generate.steps=5")
        recipe = recipe_in(folder, f'paths.dataset="{tmp_path / device}"', *few)
        build(planned(recipe), device)(0)
        samples[device] = sorted(read_shards(tmp_path / device), key=lambda each: each.seed)
    images, masks = (
        {device: np.stack([getattr(each, what) for each in found]).astype(int) for device, found in samples.items()}
        for what in ("image", "mask")
    )
    assert np.abs(images["cpu"] - images[GPU]).mean() < 1  # of 255
    assert (masks["cpu"] == masks[GPU]).mean() > 0.995


def test_an_interpreter_that_is_fitted_again_is_the_same(folder: Path, tmp_path: Path) -> None:
    fit(recipe_in(tmp_path))
    first, second = (Models.of(recipe_in(place), GPU).interpreter.digest for place in (folder, tmp_path))
    assert first == second


def test_an_interpreter_is_fitted_and_labels_where_its_features_are() -> None:
    few = load_annotations(FACES, size=(64, 64))
    features = DenoiserFeatures(Denoiser.from_pretrained(MODEL, device=GPU), blocks=[3, 4])
    quick = Fitting(members=2, batch_size=16, min_class_pixels=1, max_batches=2)
    interpreter = Interpreter.fit(features, few.images, few.masks, classes=few.scheme, settings=quick)
    assert interpreter.predict(few.images[:2]).masks.shape == (2, 64, 64)


def test_out_of_memory_a_unit_is_made_in_smaller_batches(folder: Path, tmp_path: Path) -> None:
    recipe = recipe_in(folder, f'paths.dataset="{tmp_path}"', "generate.samples=1024", "generate.unit_size=1024")
    make = build(planned(recipe.model_copy(update={"generate": recipe.generate.changed(batch_size=1024, steps=2)})))
    torch.cuda.empty_cache()
    room = 3 * 2**30 + torch.cuda.memory_allocated()
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
    try:
        report = make(0)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sum(report.counts.values()) == 1024
    assert report.batch_size in range(1, 1024)


def test_the_automatic_batch_fits_and_leaves_little_of_the_room(recipe: Recipe) -> None:
    models = Models.of(recipe, GPU)
    room = 4 * 2**30
    peak = partial(_peak, models, lambda batch: [np.zeros((batch, 64, 64, 3), np.uint8)])
    batch = batch_for(peak, room, most=10_000)
    assert 0.8 * room < peak(batch) <= room


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_training_of_deeplab_that_went_on_ends_with_the_same_weights(tmp_path: Path) -> None:
    set_up(GPU)
    faces = load_annotations(FACES, size=(64, 64))
    batch = faces.images[:16], faces.masks[:16]
    shape = {"variant": "v3+", "encoder": "mobilenet_v2", "encoder_depth": 3, "output_stride": 16, "scale": 2}
    how = deeplab.Optimisation(steps=6, learning_rate=3e-3, loss="cross_entropy+dice", ema_decay=0.9)

    def begin() -> Trainee:
        return Trainee(deeplab.build(len(faces.scheme), **shape, aspp_dropout=0.1), how, device=GPU)

    def go_on(training: Trainee, steps: int) -> None:
        for _ in islice(training.train([batch] * 6), steps):
            pass

    straight, half, again = begin(), begin(), begin()
    go_on(straight, 6)
    go_on(half, 3)
    torch.save(half.state(), tmp_path / "kept.pt")
    again.restore(torch.load(tmp_path / "kept.pt", weights_only=True))
    go_on(again, 3)
    assert same(straight.network.state_dict(), again.network.state_dict())


def test_a_training_of_a_diffusion_model_that_went_on_ends_with_the_same_weights(tmp_path: Path) -> None:
    set_up(GPU)
    pictures = image_paths(FACES)
    schedule, settings = Denoiser.from_pretrained(MODEL).schedule, Training(updates=6, warmup=1, checkpoint_every=3)

    def trained(name: str, *stops: int) -> dict[str, Tensor]:
        checkpoint, state = tmp_path / f"{name}.pt", None
        for stop in stops:
            state = trainee(Denoiser.from_pretrained(MODEL, device=GPU).unet, settings)
            if checkpoint.exists():
                state.load(checkpoint)
            with closing(train(state, schedule, pictures, settings, checkpoint)) as updates:
                for _ in islice(updates, stop - state.done):
                    pass
        assert state is not None
        return state.unet.state_dict()

    assert same(trained("straight", 6), trained("resumed", 3, 6))

"""Consistency models and EDM's networks against numbers of the published code, and against diffusers' pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_unet
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline
from published import LSUN, published_shapes, write_state_dict
from torch import Tensor

from generate import CheckpointError, ConsistencyImages, ConsistencyModel, Denoiser, EdmImages, EdmModel, GenerateError
from generate.consistency_files import PRESETS, consistency_flags
from generate.guided import build_unet, layout

GOLDEN = Path(__file__).parent / "golden"
FLAGS = json.loads((GOLDEN / "cd_like.json").read_text())["flags"]
SIGMAS = (0.002, 0.5, 3.0, 80.0)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN / "cd_like.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="module")
def model() -> ConsistencyModel:
    return ConsistencyModel.from_pretrained(GOLDEN / "cd_like.pt", flags=FLAGS)


@pytest.fixture(scope="module")
def edm() -> EdmModel:
    return EdmModel.from_pretrained(GOLDEN / "cd_like.pt", flags=FLAGS)


def furthest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.fixture(scope="module")
def in_rows() -> ConsistencyModel:
    """The network in the layout of the published code: where hardly anything enters, as at the least noise, group norms
    of the faster one are 1e-2 off in float32; what the network says there is multiplied with next to nothing."""
    network = ConsistencyModel.from_pretrained(GOLDEN / "cd_like.pt", flags=FLAGS)
    network.layout = torch.contiguous_format
    network.unet.to(memory_format=network.layout)  # type: ignore[call-overload]
    return network


@pytest.mark.parametrize("sigma", SIGMAS)
def test_network_and_denoised_image_are_those_of_the_published_code(golden, model, edm, in_rows, sigma) -> None:
    x = golden["x"] * sigma
    assert furthest(in_rows(x, sigma), golden[f"cd_raw_{sigma}"]) < 1e-4
    assert furthest(model.denoise(x, sigma), golden[f"cd_denoised_{sigma}"]) < 1e-4
    assert furthest(edm.denoise(x, sigma), golden[f"edm_denoised_{sigma}"]) < 1e-4


def test_one_step_is_that_of_the_published_code(golden, model) -> None:
    (x,) = model.trajectory(golden["noise"], ts=[0])
    assert furthest(x, golden["onestep"]) < 1e-3


@pytest.mark.parametrize("ts", [(0, 17, 39), (0, 10, 22, 39)])
def test_several_steps_are_those_of_the_published_code(golden, model, ts) -> None:
    *_, x = model.trajectory(golden["noise"], ts=ts, step_noise=golden["noises"])
    assert furthest(x, golden[f"multistep_{'_'.join(map(str, ts))}"]) < 1e-3
    *_, same = model.trajectory(golden["noise"], ts=ts[:-1], step_noise=golden["noises"])
    assert torch.equal(x, same)  # the end of the trajectory is no step


def test_heuns_method_is_that_of_the_published_code(golden, edm) -> None:
    *_, x = edm.trajectory(golden["noise"], steps=8)
    assert furthest(x, golden["edm_heun_8"]) < 1e-3


def write_pipeline(folder: Path, sigma_data: float = 0.5) -> ConsistencyModelPipeline:
    torch.manual_seed(0)
    pipeline = ConsistencyModelPipeline(make_unet(), CMStochasticIterativeScheduler(sigma_data=sigma_data))
    pipeline.save_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
@pytest.mark.parametrize("ts", [[0], [0, 17], [0, 10, 22]])
def test_a_folder_of_diffusers_paints_what_its_pipeline_does(tmp_path, ts, sigma_data) -> None:
    """The pipeline wants the same noise levels in descending order, and draws all noise from one generator."""
    pipeline = write_pipeline(tmp_path, sigma_data)
    random = torch.Generator().manual_seed(3)
    noise = torch.randn((2, 3, 16, 16), generator=random)
    each_step = [torch.randn((2, 3, 16, 16), generator=random) for _ in ts]
    of_pipeline = pipeline(
        batch_size=2,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
        num_inference_steps=None,  # type: ignore[arg-type]  # or it warns that timesteps are taken in their place
        timesteps=ts[::-1],
    )[0]
    *_, x = ConsistencyModel.from_pretrained(tmp_path).trajectory(noise, ts=ts, step_noise=each_step)
    assert furthest(x / 2 + 0.5, of_pipeline) < 1e-4


def test_an_image_does_not_depend_on_its_batch_nor_on_those_before_it(tmp_path) -> None:
    write_pipeline(tmp_path)
    source = ConsistencyImages(ConsistencyModel.from_pretrained(tmp_path), (0, 10, 22))
    together = np.concatenate(list(source.images(range(6), 7, 6)))
    alone = np.concatenate(list(source.images([4, 2], 7, 1)))
    assert np.abs(together[[4, 2]].astype(int) - alone).max() <= 1  # sums of another batch differ in their last bits
    assert np.array_equal(np.concatenate(list(source.images(range(6), 7, 6))), together)
    assert not np.array_equal(np.concatenate(list(source.images(range(6), 8, 6))), together)


def test_what_changes_an_image_changes_the_digest_of_its_source(tmp_path, model, edm) -> None:
    write_pipeline(tmp_path)
    sources = [
        ConsistencyImages(model),
        ConsistencyImages(model, (0, 17)),
        ConsistencyImages(model, levels=30),
        ConsistencyImages(ConsistencyModel.from_pretrained(tmp_path)),
        EdmImages(edm),
        EdmImages(edm, 8),
    ]
    assert len({source.digest for source in sources}) == len(sources)
    assert (sources[0].count, sources[0].image_shape) == (None, (3, 32, 32))


@pytest.mark.parametrize("name", PRESETS)
def test_the_published_files_have_the_names_and_shapes_that_are_expected(name) -> None:
    """By the publication's own constructor, but for the attention's convolutions, which have two sides there."""
    published = published_shapes(LSUN | {"use_scale_shift_norm": False, "learn_sigma": False})
    flags = consistency_flags(name)
    rules = layout(flags, build_unet(flags), attention_sides=2)
    assert {key: rule.shape for key, rule in rules.items()} == {
        key: (*shape, 1) if len(shape) == 3 else shape for key, shape in published.items()
    }


def test_a_denoisers_state_dict_is_refused_by_what_its_shapes_say(tmp_path) -> None:
    flags = {k: v for k, v in FLAGS.items() if k != "weight_schedule"}
    with pytest.raises(CheckpointError, match=r"14 tensors differ .* another kind of checkpoint"):
        Denoiser.from_pretrained(GOLDEN / "cd_like.pt", flags=flags)
    write_state_dict(tmp_path / "cat.pt", flags)
    with pytest.raises(CheckpointError, match="does not fit its flags: 14 tensors differ"):
        ConsistencyModel.from_pretrained(tmp_path / "cat.pt", flags=flags)


@pytest.mark.parametrize(
    ("file", "flags", "message"),
    [
        ("cd_like.pt", None, r"cd_like\.pt needs its flags: the published command line, a mapping, or a preset \(cd_"),
        ("cd_like.pt", {**FLAGS, "colour": 1}, "--colour is unknown; known are image_size"),
        ("cd_like.pt", {**FLAGS, "learn_sigma": True}, "a consistency model has no learned variance"),
        ("cd_like.pt", {**FLAGS, "num_channels": 64}, "does not fit its flags: .* its shapes say --num_channels 32"),
        ("cd_cat256_lpips.pt", None, r"cd_cat256_lpips\.pt is not there; a state_dict \(\.pt\) is needed"),
        ("nowhere", None, "is not a folder; a diffusers folder with unet/"),
    ],
)
def test_files_and_flags_that_are_mistaken_are_refused_in_one_sentence(file, flags, message) -> None:
    with pytest.raises(CheckpointError, match=message):
        ConsistencyModel.from_pretrained(GOLDEN / file, flags=flags)


@pytest.mark.parametrize("ts", [[], [1], [0, 0], [0, 17, 10], [0, 40]])
def test_noise_levels_that_do_not_ascend_from_the_most_noise_are_refused(golden, model, ts) -> None:
    with pytest.raises(GenerateError, match="are no noise levels to go through; they ascend from 0, the most noise"):
        next(model.trajectory(golden["noise"], ts=ts))


def test_heuns_method_needs_a_step(golden, edm) -> None:
    with pytest.raises(GenerateError, match="0 solver steps were asked for; at least 1 is needed"):
        next(edm.trajectory(golden["noise"], steps=0))


def test_a_scheduler_that_says_no_noise_levels_is_refused(tmp_path) -> None:
    write_pipeline(tmp_path)
    path = tmp_path / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sigma_min": 90.0}))
    with pytest.raises(CheckpointError, match="does not describe noise levels: sigma_min must be below sigma_max"):
        ConsistencyModel.from_pretrained(tmp_path)


def test_a_folder_of_several_classes_is_refused(tmp_path) -> None:
    write_pipeline(tmp_path)
    path = tmp_path / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_class_embeds": 1000}))
    with pytest.raises(CheckpointError, match="paints one of several classes; a model without classes is needed"):
        ConsistencyModel.from_pretrained(tmp_path)

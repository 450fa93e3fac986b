"""Latent diffusion against diffusers' own pipelines, on tiny random networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import latent_models
import numpy as np
import pytest
import torch

from generate import GenerateError, LatentImages, LatentModel, Prompts, Solver
from generate.latent import SOLVERS
from generate.seeds import draw, generator

SEEDS = [3, 0, 7]
TEXTS = ["a photo of a red horse", "a green cow", "a cow on a horse"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, LatentModel]]:
    """A pipeline of diffusers by the name of its kind, and what is opened here of its folder."""
    made: dict[str, tuple[Any, LatentModel]] = {}

    def of(kind: str) -> tuple[Any, LatentModel]:
        if kind not in made:
            pipeline: Any = getattr(latent_models, kind)()
            pipeline.set_progress_bar_config(disable=True)
            folder = latent_models.saved(pipeline, tmp_path_factory.mktemp(kind))
            made[kind] = pipeline, LatentModel.from_pretrained(folder)
        return made[kind]

    return of


Opened = Callable[[str], tuple[Any, LatentModel]]


def noise_of(model: LatentModel) -> tuple[torch.Tensor, list[torch.Generator]]:
    generators = [generator(0, seed) for seed in SEEDS]
    return draw(generators, model.latent_shape), generators


def as_pipelines(model: LatentModel, source: LatentImages, texts: list[str]) -> np.ndarray:
    """What the source paints of these texts, as a pipeline's output: 0 to 1."""
    noise, generators = noise_of(model)
    images = model.decode(source.latents(noise, texts, generators))
    return (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_the_same_latents_and_prompts_give_what_stable_diffusion_pipeline_does(solver: Solver, opened: Opened) -> None:
    pipeline, model = opened("stable_diffusion")
    source = LatentImages(model, Prompts(TEXTS), negative_prompt="red", solver=solver, steps=5)
    kind, told = SOLVERS[solver]
    pipeline.scheduler = kind.from_config(model.scheduler, clip_sample=False, **told)
    noise, generators = noise_of(model)
    expected = pipeline(
        TEXTS,
        latents=noise,
        generator=generators,
        negative_prompt=["red"] * 3,
        num_inference_steps=5,
        output_type="np",
    ).images
    painted = as_pipelines(model, source, TEXTS)
    assert painted.shape == (3, 16, 16, 3)
    assert np.abs(painted - expected).max() < 1e-4
    assert np.abs(painted[0] - painted[1]).max() > 1e-2  # or nothing was compared


def test_v_prediction_and_no_guidance_are_as_the_pipelines(tmp_path: Path) -> None:
    pipeline = latent_models.stable_diffusion(prediction_type="v_prediction")
    pipeline.set_progress_bar_config(disable=True)
    model = LatentModel.from_pretrained(latent_models.saved(pipeline, tmp_path))
    source = LatentImages(model, Prompts(TEXTS), guidance=1.0, solver="ddim", steps=4)
    pipeline.scheduler = SOLVERS["ddim"][0].from_config(model.scheduler, clip_sample=False)
    images: Any = pipeline(
        TEXTS, latents=noise_of(model)[0], guidance_scale=1, num_inference_steps=4, output_type="np"
    ).images  # type: ignore[union-attr]
    assert np.abs(as_pipelines(model, source, TEXTS) - images).max() < 1e-4


def test_the_multilingual_encoder_reads_as_alt_diffusion_pipeline_does(opened: Opened) -> None:
    pipeline, model = opened("alt_diffusion")
    texts = ["rotes 馬", "馬", "rotes"]
    source = LatentImages(model, Prompts(texts), solver="ddim", steps=4)
    expected = pipeline(texts, latents=noise_of(model)[0], num_inference_steps=4, output_type="np").images
    assert np.abs(as_pipelines(model, source, texts) - expected).max() < 1e-4


def test_the_same_latents_give_what_the_pipeline_without_words_does(opened: Opened) -> None:
    pipeline, model = opened("plain")
    with pytest.MonkeyPatch.context() as patch:  # it takes no latents
        patch.setattr(
            "diffusers.pipelines.deprecated.latent_diffusion_uncond.pipeline_latent_diffusion_uncond.randn_tensor",
            lambda *_, **__: noise_of(model)[0],
        )
        expected = pipeline(batch_size=3, num_inference_steps=4, output_type="np").images
    assert np.abs(as_pipelines(model, LatentImages(model, solver="ddim", steps=4), []) - expected).max() < 1e-4


@pytest.mark.parametrize("solver", ["ddpm", "dpmsolver++"])
def test_batch_order_and_restart_change_no_byte_of_an_image(solver: Solver, opened: Opened) -> None:
    folder = opened("stable_diffusion")[1].source
    assert folder is not None
    prompts = Prompts(TEXTS, run_seed=5)
    source = LatentImages(LatentModel.from_pretrained(folder.path), prompts, solver=solver, steps=3)
    whole = np.concatenate(list(source.images(range(6), 5, 6)))
    again = LatentImages(LatentModel.from_pretrained(folder.path), prompts, solver=solver, steps=3)
    for seeds, batch in (([4, 1], 1), ([5, 0, 2, 3], 3)):
        painted = np.concatenate(list(again.images(seeds, 5, batch)))
        assert all(np.array_equal(image, whole[seed]) for image, seed in zip(painted, seeds, strict=True))
    assert again.digest == source.digest


def test_a_sample_says_its_prompt_and_how_it_is_followed(opened: Opened) -> None:
    model = opened("stable_diffusion")[1]
    source = LatentImages(model, Prompts(["a {colour} horse"], {"colour": ["red"]}), negative_prompt="cow", steps=7)
    assert source.provenance(4) == {
        "painter": "latent",
        "solver": "dpmsolver++",
        "steps": 7,
        "guidance": 7.5,
        "negative_prompt": "cow",
        "prompt": "a red horse",
    }
    assert LatentImages(opened("plain")[1], steps=7).provenance(4) == {
        "painter": "latent",
        "solver": "dpmsolver++",
        "steps": 7,
    }
    assert source.count is None
    assert source.image_shape == (3, 16, 16)


def test_what_changes_an_image_changes_the_digest_of_its_source(opened: Opened) -> None:
    model = opened("stable_diffusion")[1]
    words = Prompts(["a cow", "a horse"])
    sources = [
        LatentImages(model, words),
        LatentImages(model, Prompts(["a horse", "a cow"])),
        LatentImages(model, Prompts(["a cow", "a horse"], run_seed=1)),
        LatentImages(model, words, guidance=3.0),
        LatentImages(model, words, negative_prompt="red"),
        LatentImages(model, words, solver="ddim"),
        LatentImages(model, words, steps=4),
        LatentImages(opened("plain")[1]),
    ]
    assert len({source.digest for source in sources}) == len(sources)


def test_words_that_do_not_fit_the_model_are_refused_in_one_sentence(opened: Opened) -> None:
    with_words, plain = opened("stable_diffusion")[1], opened("plain")[1]
    with pytest.raises(GenerateError, match="no prompts were given, but this model paints from words"):
        LatentImages(with_words)
    with pytest.raises(GenerateError, match="this model paints without words; leave prompts out"):
        LatentImages(plain, Prompts(["a cow"]))
    with pytest.raises(GenerateError, match="has 13 tokens, and 8 are read; shorten it"):
        LatentImages(with_words, Prompts(["a red cow on a green {what}"], {"what": ["cow", "horse on"]}))
    with pytest.raises(GenerateError, match="1001 solver steps were asked for; 1 to 1000 are possible"):
        LatentImages(plain, steps=1001)

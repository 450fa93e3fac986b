"""A recipe whose images a latent diffusion model paints and reads, from words."""

import json
from collections.abc import Callable
from pathlib import Path

import latent_models
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import make_project
from making import killed, made, shards

from generate import LatentImages, LatentModel, Prompts
from pipelines import DatasetError, Recipe, RecipeError, read_shards
from pipelines.dataset.damage import damages
from pipelines.dataset.index import candidates, write_index
from pipelines.dataset.inventory import INDEX, take_inventory
from pipelines.dataset.painted import painted_how
from pipelines.stages.check import check
from pipelines.stages.fit import fit
from pipelines.stages.sample import provenance, sample_images
from pipelines.units.builder import planned
from pipelines.units.identity import describe, identify
from pipelines.units.images import painted_images
from pipelines.units.models import Models, open_reader

SEEN = ('paths.denoiser="sd"', "interpreter.blocks=[1, 2, 3]", "generate.portion=0")
WORDS = ('paths.painter="sd"', 'painter.kind="latent"', 'painter.prompts=["a {colour} horse", "a cow"]')
CHOICES = 'painter.choices={colour = ["red", "green"]}'


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose interpreter reads a latent diffusion model; one without words lies beside it."""
    project = make_project(tmp_path_factory.mktemp("latent"))
    latent_models.saved(latent_models.stable_diffusion(), project / "sd")
    latent_models.saved(latent_models.plain(), project / "plain")
    fit(Recipe.load(project / "recipe.toml", SEEN))
    return project


@pytest.fixture
def recipe_of(fitted: Path, tmp_path: Path) -> Callable[..., Recipe]:
    def load(*settings: str) -> Recipe:
        own = f'paths.dataset="{tmp_path / "made"}"'
        return Recipe.load(fitted / "recipe.toml", (*SEEN, *WORDS, CHOICES, own, *settings))

    return load


def test_samples_are_painted_from_words_and_say_which(recipe_of: Callable[..., Recipe]) -> None:
    recipe = recipe_of()
    samples = list(read_shards(made(recipe)))
    prompts = Prompts(recipe.painter.prompts, recipe.painter.choices, recipe.generate.run_seed)
    assert [sample.provenance["prompt"] for sample in samples] == [prompts.of(sample.seed) for sample in samples]
    assert {sample.provenance["prompt"] for sample in samples} == {"a red horse", "a green horse", "a cow"}
    assert samples[0].provenance["guidance"] == 7.5
    assert len(samples) == 22


def test_the_index_has_a_column_of_prompts(recipe_of: Callable[..., Recipe]) -> None:
    recipe = recipe_of("generate.portion=0.2", "generate.samples=6")
    inventory = take_inventory(made(recipe))
    write_index(inventory)
    prompts = Prompts(recipe.painter.prompts, recipe.painter.choices, recipe.generate.run_seed)
    index = pq.read_table(Path(str(inventory.folder)) / INDEX)
    assert index["prompt"].to_pylist() == [prompts.of(seed) for seed in range(6)]
    assert candidates(take_inventory(inventory.folder))["seed"].to_pylist() == list(range(6))


def test_a_dataset_that_was_killed_is_resumed_byte_for_byte(
    recipe_of: Callable[..., Recipe], fitted: Path, tmp_path: Path
) -> None:
    whole = shards(made(recipe_of()))
    settings = (*SEEN, *WORDS, CHOICES, f'paths.dataset="{tmp_path / "killed"}"')
    killed(fitted / "recipe.toml", *settings, folder=tmp_path / "killed")
    recipe = recipe_of(f'paths.dataset="{tmp_path / "killed"}"')
    assert shards(made(recipe)) == whole
    assert not damages(take_inventory(tmp_path / "killed"))


def test_the_files_tell_of_the_models_what_the_opened_models_do(recipe_of: Callable[..., Recipe]) -> None:
    recipe = recipe_of()
    assert identify(recipe) == Models.of(recipe, "cpu").identity


def test_what_changes_an_image_changes_the_digest(recipe_of: Callable[..., Recipe]) -> None:
    def digest(*settings: str) -> str:
        recipe = recipe_of(*settings)
        return describe(identify(recipe), recipe.generate).digest

    plain = digest()
    others = [
        digest('painter.prompts=["a {colour} cow"]'),
        digest('painter.choices={colour = ["red"]}'),
        digest("painter.guidance=3.0"),
        digest('painter.negative_prompt="cow"'),
        digest("generate.steps=4"),
    ]
    assert len({plain, *others}) == 6
    assert digest("painter.levels=7") == plain


def test_other_words_are_named_and_their_dataset_not_mixed(recipe_of: Callable[..., Recipe]) -> None:
    planned(recipe_of())
    with pytest.raises(DatasetError, match=r"painter\.guidance was 7\.5, is 3\.0"):
        planned(recipe_of("painter.guidance=3.0"))


def test_images_to_annotate_say_their_prompt(recipe_of: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = recipe_of("generate.batch_size=2")
    recipe = recipe.model_copy(update={"paths": recipe.paths.model_copy(update={"out": tmp_path / "out"})})
    assert sample_images(recipe, count=2).fresh
    said = [provenance(path) or {} for path in sorted((tmp_path / "out" / "samples").glob("*.png"))]
    assert [each["prompt"].split()[-1] for each in said] in (["horse", "cow"], ["cow", "horse"])
    assert not sample_images(recipe, count=2).fresh


def test_a_model_that_paints_and_reads_is_opened_once_and_paints_the_same(recipe_of: Callable[..., Recipe]) -> None:
    recipe = recipe_of()
    reader = open_reader(recipe, "cpu")
    assert isinstance(reader, LatentModel)
    shared, apart = painted_images(recipe, "cpu", reader), painted_images(recipe, "cpu")
    assert isinstance(shared, LatentImages)
    assert isinstance(apart, LatentImages)
    assert shared.model is reader
    assert apart.model is not reader
    one, other = (np.concatenate(list(source.images(range(2), run_seed=0, batch_size=2))) for source in (shared, apart))
    assert (one == other).all()
    elsewhere = recipe_of('paths.denoiser="model"')
    found = painted_images(elsewhere, "cpu", open_reader(elsewhere, "cpu"))
    assert isinstance(found, LatentImages)


def test_an_unconditional_model_paints_what_a_denoiser_reads(fitted: Path, tmp_path: Path) -> None:
    settings = ('paths.painter="plain"', 'painter.kind="latent"', f'paths.out="{tmp_path}"')
    recipe = Recipe.load(fitted / "recipe.toml", settings)
    fit(recipe)
    samples = list(read_shards(made(recipe)))
    assert samples[0].provenance["painter"] == "latent"
    assert "prompt" not in samples[0].provenance
    assert painted_how(planned(recipe).dataset.recipe) == "latent diffusion without words, dpmsolver++, 3 steps"


def test_check_names_size_and_blocks_of_a_latent_model(recipe_of: Callable[..., Recipe]) -> None:
    found = {finding.subject: finding for finding in check(recipe_of())}
    assert found["paths.denoiser"].clause == "images of 16x16 pixels, 4 decoder blocks: 0 to 3"
    assert found["paths.painter"].clause == "latent, images of 16x16 pixels"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("painter.prompts=[]",), "painter: prompts is an empty list"),
        (('painter.prompts=["a {size} cow"]',), r"\{size\} is no choice; known are colour; add choices.size"),
        (('painter.kind="denoiser"',), 'is for latent diffusion models; add kind = "latent", or leave it out'),
        (('painter.flags="lsun_horse"',), "flags belong to a .pt"),
        (('generate.solver="euler"',), r"generate\.solver"),
    ],
)
def test_a_mistaken_recipe_is_refused_in_one_sentence(
    recipe_of: Callable[..., Recipe], settings: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        recipe_of(*settings)


def test_words_and_models_that_do_not_fit_each_other_are_refused_before_any_work(fitted: Path, tmp_path: Path) -> None:
    def identified(*settings: str) -> None:
        own = (f'paths.dataset="{tmp_path / "made"}"', *SEEN, *settings)
        identify(Recipe.load(fitted / "recipe.toml", own))

    latent = 'painter.kind="latent"'
    with pytest.raises(RecipeError, match=r"painter\.prompts: paths\.painter, .*sd, paints from words; name some"):
        identified('paths.painter="sd"', latent)
    with pytest.raises(RecipeError, match="plain, paints without words; leave them out"):
        identified('paths.painter="plain"', latent, 'painter.prompts=["a cow"]')
    with pytest.raises(RecipeError, match=r"is a latent diffusion model; name it in paths\.painter as well"):
        identified()
    with pytest.raises(RecipeError, match=r"denoiser\.compile: a latent diffusion model is not compiled"):
        identified('denoiser.compile="default"')
    with pytest.raises(RecipeError, match=r"is a latent diffusion model; name it in paths\.painter as well"):
        painted_images(Recipe.load(fitted / "recipe.toml", SEEN), "cpu")


def test_a_prompt_to_read_by_is_for_models_that_read_words(fitted: Path) -> None:
    with pytest.raises(RecipeError, match=r"denoiser\.prompt: paths\.denoiser, .*model, reads no words"):
        fit(Recipe.load(fitted / "recipe.toml", ('denoiser.prompt="a cow"',)))


def test_a_model_of_which_a_part_is_missing_ends_with_exit_code_2(
    fitted: Path, command: Callable[..., str], tmp_path: Path
) -> None:
    sd = latent_models.saved(latent_models.stable_diffusion(), tmp_path / "sd")
    config = json.loads((sd / "unet" / "config.json").read_text())
    (sd / "unet" / "config.json").write_text(json.dumps({**config, "in_channels": 9}))
    settings = [word for setting in (*WORDS, CHOICES, f'paths.painter="{sd}"') for word in ("--set", setting)]
    said = command("sample", fitted / "recipe.toml", *settings, code=2)
    assert "is an inpainting model: its UNet takes 9 channels" in " ".join(said.split())


def test_the_recipe_of_words_has_six_prompts_and_says_that_its_model_is_missing(
    command: Callable[..., str], tmp_path: Path
) -> None:
    recipe = Recipe.load("words")
    prompts = Prompts(recipe.painter.prompts, recipe.painter.choices)
    assert len({prompts.of(seed) for seed in range(6)}) == len(recipe.painter.prompts) == 6
    out = ("--set", f'paths.out="{tmp_path}"')
    said = command("sample", "words", *out, "--set", f'paths.painter="{tmp_path / "nowhere"}"', code=2)
    assert "is not there; a model that paints is needed" in " ".join(said.split())

"""Trainings from several sources; kills are real ones, of the command in a process of its own."""

import json
import shutil
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from making import begun, commit, killed_in_training

from label import Annotations, Scheme
from pipelines import Recipe
from pipelines.dataset.shards import Sample
from pipelines.errors import DatasetError, RecipeError
from pipelines.sections.train import MixedSource, images_of_batch
from pipelines.stages.evaluate import evaluate
from pipelines.stages.train import train
from pipelines.training.data import AnnotatedData, Part, shard_data
from pipelines.training.mix import Ingredient, Mix
from pipelines.training.plan import runs

SCHEME = Scheme(("ground", "square", "dot"))
SHARDS, FEW = 12, 5  # samples


def dataset(folder: Path, *, red: int = 0, side: int = 16, names: tuple[str, ...] = SCHEME.names) -> Path:
    """Two shards of six samples; the red of each image is `red` and its seed."""
    rng, scheme = np.random.default_rng(red), Scheme(names)
    begun(folder, scheme)
    for unit in range(2):
        samples = []
        for seed in range(6 * unit, 6 * unit + 6):
            image, mask = rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
            image[..., 0] = red + seed
            samples.append(Sample(seed, image, mask[..., 0] % 3, seed / 100, {}))
        commit(folder, unit, samples, scheme)
    return folder


def few() -> AnnotatedData:
    """Five images, whose red is 200 and more."""
    images = np.zeros((FEW, 16, 16, 3), dtype=np.uint8)
    images[..., 0] = np.arange(200, 200 + FEW)[:, None, None]
    masks = np.zeros((FEW, 16, 16), dtype=np.uint8)
    return AnnotatedData(Annotations([str(i) for i in range(FEW)], images, masks, SCHEME))


@pytest.fixture
def mix(tmp_path: Path) -> Mix:
    shards = shard_data(dataset(tmp_path))
    return Mix((Ingredient("synthetic", shards, 3, "none"), Ingredient("annotated", few(), 1, "strong")))


def order(mix: Mix, count: int, start: int = 0, part: Part | None = None) -> list[tuple[int, int, str]]:
    """Number, red and augmentation of the first images."""
    drawn = mix.drawn(0, start, part or Part(4))
    return [(each.number, int(each.pair[0][0, 0, 0]), each.augmentation) for each in islice(drawn, count)]


@pytest.mark.parametrize(
    ("shares", "batch_size", "counts"),
    [
        ((3, 1), 16, [12, 4]),
        ((0.75, 0.25), 16, [12, 4]),
        ((1, 1, 1), 8, [3, 3, 2]),
        ((2, 0, 1), 9, [6, 0, 3]),
        ((1,), 5, [5]),
        ((0.3, 0.7), 5, [2, 3]),
    ],
)
def test_shares_become_whole_images_of_a_batch(shares: tuple[float, ...], batch_size: int, counts: list[int]) -> None:
    assert images_of_batch([MixedSource(source="synthetic", share=share) for share in shares], batch_size) == counts


def test_every_batch_holds_each_source_by_its_share_with_its_own_augmentation(mix: Mix) -> None:
    found = order(mix, 40)
    assert [number for number, _, _ in found] == list(range(40))
    for batch in range(10):
        of_batch = found[4 * batch : 4 * batch + 4]
        assert [(red >= 200, name) for _, red, name in of_batch] == [(False, "none")] * 3 + [(True, "strong")]


def test_each_source_is_seen_whole_before_any_of_it_is_seen_again(mix: Mix) -> None:
    reds = [red for _, red, _ in order(mix, 4 * 20)]
    synthetic, annotated = [red for red in reds if red < 200], [red for red in reds if red >= 200]
    assert Counter(synthetic) == dict.fromkeys(range(SHARDS), 60 // SHARDS)
    assert Counter(annotated) == dict.fromkeys(range(200, 200 + FEW), 20 // FEW)
    assert sorted(synthetic[:SHARDS]) == list(range(SHARDS))


@pytest.mark.parametrize("step", [1, 4, 9])
def test_a_start_at_any_step_goes_on_as_if_there_had_been_no_break(mix: Mix, step: int) -> None:
    assert order(mix, 8, start=4 * step) == order(mix, 4 * step + 8)[4 * step :]


@pytest.mark.parametrize("workers", [2, 4])
def test_parts_of_several_workers_together_are_the_batches_of_one(mix: Mix, workers: int) -> None:
    parts = [order(mix, 40 // workers, part=Part(4, rank, workers)) for rank in range(workers)]
    assert sorted(each for part in parts for each in part) == order(mix, 40)


def test_one_source_alone_is_drawn_as_it_comes(tmp_path: Path) -> None:
    data = shard_data(dataset(tmp_path))
    alone = order(Mix((Ingredient("synthetic", data, 4, "none"),)), 30)
    pairs = islice(data.pairs(0, 0, Part(4)), 30)
    assert [(number, red) for number, red, _ in alone] == [(number, int(pair[0][0, 0, 0])) for number, pair in pairs]


def test_an_epoch_shows_every_sample_of_every_source(mix: Mix) -> None:
    assert len(mix) == 20  # the five annotated need five batches, the shards four
    assert {red for _, red, _ in order(mix, len(mix))} == {*range(SHARDS), *range(200, 200 + FEW)}


def test_class_pixels_are_those_of_what_is_seen(mix: Mix) -> None:
    seen = np.zeros(3)
    for each in islice(mix.drawn(0, 0, Part(4)), 4 * SHARDS * FEW):
        seen += np.bincount(each.pair[1].ravel(), minlength=3)
    assert np.array(mix.class_pixels) / sum(mix.class_pixels) == pytest.approx(seen / seen.sum())


# ------------------------------------------------------------------------------------------------------- the stage


def mixed(project: Path, *others: str, mix: str | None = None, steps: int = 6) -> tuple[str, ...]:
    """Overrides: half of each batch synthetic, a quarter of another dataset, a quarter annotated."""
    sources = (
        '{source="synthetic", share=2}, '
        f"{{source={json.dumps(str(project / 'other'))}}}, "
        '{source="annotated", augmentation="strong"}'
    )
    training = f"train.steps={steps}", "train.checkpoint_every=3", f"train.mix=[{sources if mix is None else mix}]"
    return (*training, "train.baseline=false", *others)


@pytest.fixture
def made(project: Path) -> Path:
    """A project with the recipe's dataset and another."""
    dataset(project / "out" / "dataset")
    dataset(project / "other", red=100)
    return project


def weights(out: Path) -> bytes:
    return (out / "deeplab" / "mixed-seed0" / "model.safetensors").read_bytes()


def test_a_mixed_training_killed_at_any_moment_ends_with_the_very_bytes_of_one_that_was_not(made: Path) -> None:
    train(Recipe.load(made / "recipe.toml", mixed(made, "train.accumulate=2", steps=24)))
    shutil.copytree(made / "out" / "dataset", made / "killed" / "dataset")
    elsewhere = mixed(made, "train.accumulate=2", f'paths.out="{made / "killed"}"', steps=24)
    (run,) = runs(Recipe.load(made / "recipe.toml", elsewhere), ["mixed"])
    killed_in_training(made / "recipe.toml", *elsewhere, run=run, delays=(0.0, 0.1))
    train(Recipe.load(made / "recipe.toml", elsewhere))
    assert weights(made / "killed") == weights(made / "out")


def test_another_share_is_another_network(made: Path) -> None:
    assert train(Recipe.load(made / "recipe.toml", mixed(made))).fresh
    assert not train(Recipe.load(made / "recipe.toml", mixed(made))).fresh
    assert train(Recipe.load(made / "recipe.toml", mixed(made, mix='{source="synthetic"}, {source="annotated"}'))).fresh


def test_a_mixed_folder_is_placed_at_the_recipes_own(made: Path) -> None:
    recipe = Recipe.load(made / "recipe.toml", mixed(made, mix='{source="other"}, {source="s3://bucket/faces"}'))
    assert [each.source for each in recipe.train.mix] == [str(made / "other"), "s3://bucket/faces"]


def test_the_baseline_is_augmented_as_the_annotated_are_in_the_mix(made: Path) -> None:
    recipe = Recipe.load(made / "recipe.toml", (*mixed(made), "train.baseline=true"))
    network, baseline = runs(recipe, ["mixed", "annotated"])
    assert [each.augmentation for each in network.data.ingredients] == ["none", "none", "strong"]
    assert [each.augmentation for each in baseline.data.ingredients] == ["strong"]


@pytest.mark.parametrize(
    ("mix", "sentence"),
    [
        (
            '{source="synthetic", share=0}, {source="annotated", share=0}',
            "train: the shares of synthetic, annotated add up to nothing; give at least one of them a share above 0",
        ),
        ('{source="synthetic", share=-1}', r"train\.mix\.0\.share: it should be greater than or equal to 0, not -1"),
        (
            '{source="synthetic", share=99}, {source="annotated"}',
            r"annotated has a share of 1\.0%, less than one of 4 images; raise it or batch_size",
        ),
        ('{source="synthetic", shares=1}', r"mix\.0\.shares: unknown key; known are source, share, augmentation"),
        ("{share=1}", r"train\.mix\.0\.source: Field required"),
    ],
)
def test_a_wrong_mix_is_said_in_one_sentence(made: Path, mix: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        Recipe.load(made / "recipe.toml", mixed(made, mix=mix))


@pytest.mark.parametrize("mix", ["0", '"synthetic"', '{source="synthetic"}', "[1]"])
def test_a_mix_is_a_list_of_tables(made: Path, mix: str) -> None:
    with pytest.raises(RecipeError, match=r"train\.mix(\.0)?: it should be "):
        Recipe.load(made / "recipe.toml", (f"train.mix={mix}",))


def test_a_scale_of_0_is_said_in_one_sentence(made: Path) -> None:
    with pytest.raises(RecipeError, match=r"train\.scale: it should be greater than or equal to 1, not 0"):
        Recipe.load(made / "recipe.toml", ("train.scale=0",))


@pytest.mark.parametrize("name", ["nowhere", "annotated"])
def test_a_folder_that_is_no_dataset_is_said_so_before_any_step(made: Path, name: str) -> None:
    recipe = Recipe.load(made / "recipe.toml", mixed(made, mix=f'{{source="synthetic"}}, {{source="./{name}"}}'))
    with pytest.raises(DatasetError, match=rf"train\.mix names .*/{name}, which holds no dataset\.json; generate a "):
        train(recipe)
    assert not (made / "out" / "deeplab").exists()


def test_mixed_datasets_have_images_of_one_size_and_the_same_classes(made: Path) -> None:
    dataset(made / "small", side=8)
    dataset(made / "strange", names=("ground", "square", "disc"))
    of_size, of_classes = (
        Recipe.load(made / "recipe.toml", mixed(made, mix=f'{{source="synthetic"}}, {{source="{name}"}}'))
        for name in ("small", "strange")
    )
    with pytest.raises(RecipeError, match=r"small has images of 8x8, the sources of train\.mix before it 16x16"):
        train(of_size)
    with pytest.raises(RecipeError, match="strange has the classes ground, square, disc; the shards have ground, squ"):
        train(of_classes)


def test_uncertain_pixels_cannot_be_ignored_in_a_mixed_folder_without_their_uncertainty(made: Path) -> None:
    with pytest.raises(DatasetError, match=r"train.ignore_above needs the uncertainty of pixels, which .*dataset does"):
        train(Recipe.load(made / "recipe.toml", (*mixed(made), "train.ignore_above=0.1")))


def test_scores_name_the_sources_of_a_mixed_network(finished: Path) -> None:
    mix = '{source="synthetic", share=3}, {source="annotated"}'
    recipe = Recipe.load(finished / "recipe.toml", mixed(finished, mix=mix, steps=2))
    train(recipe)
    evaluate(recipe)
    page = (finished / "out" / "scores" / "scores.md").read_text()
    assert "| mixed |" in page
    assert "mixed: trained on 75% synthetic, 25% annotated" in page

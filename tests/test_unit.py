import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import Recipe, read_shards
from pipelines.dataset.inventory import shard_path
from pipelines.dataset.manifest import Dataset, claim
from pipelines.dataset.reports import reports
from pipelines.stages.fit import fit
from pipelines.units.builder import Builder, describe
from pipelines.units.models import Models
from pipelines.units.unit import make_unit


@pytest.fixture
def recipe(project) -> Recipe:
    recipe = Recipe.load(project / "recipe.toml")
    fit(recipe)
    return recipe


def prepared(recipe: Recipe, folder) -> tuple[Builder, Dataset]:
    dataset = describe(Models.of(recipe, "cpu"), recipe.generate)
    claim(folder, dataset)
    return Builder(folder, recipe, dataset), dataset


def test_a_unit_made_twice_has_the_same_bytes_and_needs_no_ray(recipe, tmp_path):
    digests = []
    for name in ("first", "second"):
        builder, _ = prepared(recipe, tmp_path / name)
        report = builder()(0)
        assert report.sha256 == hashlib.sha256(shard_path(tmp_path / name, 0).read_bytes()).hexdigest()
        digests.append(report.sha256)
    assert digests[0] == digests[1]


def test_a_unit_has_the_same_bytes_however_many_threads_its_process_has(recipe, tmp_path):
    """Sums are split among threads, so without a fixed number the uncertainty differs in its last bits."""
    before, digests = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            builder, _ = prepared(recipe, tmp_path / str(threads))
            digests.add(builder()(0).sha256)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(digests) == 1


def test_a_unit_does_not_depend_on_those_made_before_it(recipe, tmp_path):
    first, _ = prepared(recipe, tmp_path / "alone")
    second, _ = prepared(recipe, tmp_path / "after")
    make = second()
    make(0)
    assert first()(1).sha256 == make(1).sha256


def test_masks_can_be_computed_again_from_the_stored_images(recipe, tmp_path):
    builder, _ = prepared(recipe, tmp_path / "dataset")
    builder()(0)
    samples = list(read_shards(tmp_path / "dataset"))
    models = Models.of(recipe, "cpu")
    labels = models.interpreter.predict(np.stack([sample.image for sample in samples]))
    assert np.array_equal(labels.masks, np.stack([sample.mask for sample in samples]))
    assert np.allclose(labels.uncertainty, [sample.uncertainty for sample in samples], atol=1e-4)


def test_the_most_uncertain_are_dropped_and_remembered(recipe, tmp_path):
    builder, dataset = prepared(recipe, tmp_path / "dataset")
    builder()(0)
    (report,) = reports(tmp_path / "dataset")
    stored = [sample.seed for sample in read_shards(tmp_path / "dataset")]
    assert stored == [c.seed for c in report.candidates if c.kept]
    assert report.counts == {"kept": 5, "dropped": 1}
    assert [c.seed for c in report.candidates] == list(range(6))
    (dropped,) = (c for c in report.candidates if not c.kept)
    assert dropped.uncertainty == max(c.uncertainty for c in report.candidates)
    assert report.digest == dataset.digest


def test_the_filter_is_the_recipes_and_what_it_loses_is_called_dropped_not_uncertain(recipe, tmp_path):
    settings = recipe.generate.model_copy(update={"filter": "published"})
    models = Models.of(recipe, "cpu")
    dataset = describe(models, settings)
    claim(tmp_path / "dataset", dataset)
    report = make_unit(0, models, settings, dataset, tmp_path / "dataset", batch_size=3)
    assert report.counts == {"kept": 0, "dropped": 6}  # 30 of the most certain would be lost, and there are 6


def test_the_last_unit_holds_the_rest(recipe, tmp_path):
    builder, _ = prepared(recipe, tmp_path / "dataset")
    assert [c.seed for c in builder()(3).candidates] == [18, 19, 20, 21]


def test_whatever_changes_the_samples_changes_the_digest(recipe):
    models = Models.of(recipe, "cpu")
    other_weights = replace(models)
    changes = [
        {"steps": 4},
        {"run_seed": 1},
        {"portion": 0.3},
        {"batch_size": 2},
        {"threads": 2},
        {"filter": "published"},
        {"solver": "ddim"},
    ]
    variants = [recipe.generate.model_copy(update=change) for change in changes]
    digests = [describe(models, settings).digest for settings in (recipe.generate, *variants)]
    assert len(set(digests)) == len(digests)
    other_weights.denoiser.digest = "other"
    assert describe(other_weights, recipe.generate).digest not in digests


def test_a_recipe_that_compiles_the_network_makes_another_dataset_and_says_so(project):
    plain, compiled = (Recipe.load(project / "recipe.toml", told) for told in ((), ('denoiser.compile="default"',)))
    fit(plain)
    as_it_is, as_compiled = (describe(Models.of(each, "cpu"), each.generate) for each in (plain, compiled))
    assert as_compiled.digest != as_it_is.digest
    assert ("compile" in as_it_is.recipe, as_compiled.recipe["compile"]) == (False, "default")


def test_memory_is_the_same_after_thirty_units_as_after_three(recipe, tmp_path):
    builder, _ = prepared(recipe, tmp_path / "dataset")
    make, held = builder(), []
    for _ in range(10):
        for unit in range(3):
            make(unit)
        held.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert held[-1] - held[0] < 8e6, held

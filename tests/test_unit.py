import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import Recipe, read_shards
from pipelines.dataset.inventory import shard_path
from pipelines.dataset.reports import reports
from pipelines.stages.fit import fit
from pipelines.units.builder import Plan, build, planned
from pipelines.units.identity import describe, identify
from pipelines.units.models import Models


@pytest.fixture
def recipe(project) -> Recipe:
    recipe = Recipe.load(project / "recipe.toml")
    fit(recipe)
    return recipe


def prepared(recipe: Recipe, folder) -> Plan:
    return planned(recipe.model_copy(update={"paths": recipe.paths.model_copy(update={"dataset": folder})}))


def test_a_unit_made_twice_has_the_same_bytes_and_needs_no_ray(recipe, tmp_path):
    digests = []
    for name in ("first", "second"):
        report = build(prepared(recipe, tmp_path / name))(0)
        assert report.sha256 == hashlib.sha256(shard_path(tmp_path / name, 0).read_bytes()).hexdigest()
        digests.append(report.sha256)
    assert digests[0] == digests[1]


def test_a_unit_has_the_same_bytes_however_many_threads_its_process_has(recipe, tmp_path):
    """Sums are split among threads, so without a fixed number the uncertainty differs in its last bits."""
    before, digests = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            digests.add(build(prepared(recipe, tmp_path / str(threads)))(0).sha256)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(digests) == 1


def test_a_unit_does_not_depend_on_those_made_before_it(recipe, tmp_path):
    alone, after = (build(prepared(recipe, tmp_path / name)) for name in ("alone", "after"))
    after(0)
    assert alone(1).sha256 == after(1).sha256


def test_masks_can_be_computed_again_from_the_stored_images(recipe, tmp_path):
    build(prepared(recipe, tmp_path / "dataset"))(0)
    samples = list(read_shards(tmp_path / "dataset"))
    models = Models.of(recipe, "cpu")
    labels = models.interpreter.predict(np.stack([sample.image for sample in samples]))
    assert np.array_equal(labels.masks, np.stack([sample.mask for sample in samples]))
    assert np.allclose(labels.uncertainty, [sample.uncertainty for sample in samples], atol=1e-4)


def test_the_most_uncertain_are_dropped_and_remembered(recipe, tmp_path):
    plan = prepared(recipe, tmp_path / "dataset")
    build(plan)(0)
    (report,) = reports(tmp_path / "dataset")
    stored = [sample.seed for sample in read_shards(tmp_path / "dataset")]
    assert stored == [c.seed for c in report.candidates if c.kept]
    assert report.counts == {"kept": 5, "dropped": 1}
    assert [c.seed for c in report.candidates] == list(range(6))
    (dropped,) = (c for c in report.candidates if not c.kept)
    assert dropped.uncertainty == max(c.uncertainty for c in report.candidates)
    assert report.digest == plan.dataset.digest


def test_a_report_says_the_mean_uncertainty_of_each_class_in_each_image(recipe, tmp_path):
    settings = recipe.generate.model_copy(update={"filter": "class_wise"})
    report = build(prepared(recipe.model_copy(update={"generate": settings}), tmp_path / "dataset"))(0)
    assert report.counts == {"kept": 5, "dropped": 1}
    samples = {sample.seed: sample for sample in read_shards(tmp_path / "dataset")}
    interpreter = Models.of(recipe, "cpu").interpreter
    for candidate in (each for each in report.candidates if each.kept):
        sample = samples[candidate.seed]
        nats = interpreter.predict(np.stack([sample.image])).pixel_uncertainty[0]
        for class_id, mean in enumerate(candidate.class_uncertainty):
            pixels = nats[sample.mask == class_id]
            assert mean == pytest.approx(pixels.mean() if pixels.size else 0.0, abs=1e-3)


def test_the_filter_is_the_recipes_and_what_it_loses_is_called_dropped_not_uncertain(recipe, tmp_path):
    settings = recipe.generate.model_copy(update={"filter": "published"})
    plan = prepared(recipe.model_copy(update={"generate": settings}), tmp_path / "dataset")
    report = build(plan)(0)
    assert report.counts == {"kept": 0, "dropped": 6}  # 30 of the most certain would be lost, and there are 6


def test_the_last_unit_holds_the_rest(recipe, tmp_path):
    make = build(prepared(recipe, tmp_path / "dataset"))
    assert [c.seed for c in make(3).candidates] == [18, 19, 20, 21]


def test_whatever_changes_the_samples_changes_the_digest(recipe):
    models = identify(recipe)
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
    for change in (
        {"denoiser": "other"},
        {"interpreter": "other"},
        {"dtype": "torch.bfloat16"},
        {"compiled": "default"},
    ):
        digests.append(describe(replace(models, **change), recipe.generate).digest)
    assert len(set(digests)) == len(digests)


def test_a_recipe_that_compiles_the_network_makes_another_dataset_and_says_so(project):
    plain, compiled = (Recipe.load(project / "recipe.toml", told) for told in ((), ('denoiser.compile="default"',)))
    fit(plain)
    as_it_is, as_compiled = (describe(identify(each), each.generate) for each in (plain, compiled))
    assert as_compiled.digest != as_it_is.digest
    assert ("compile" in as_it_is.recipe, as_compiled.recipe["compile"]) == (False, "default")


@pytest.mark.parametrize("settings", [(), ('denoiser.dtype="bfloat16"',), ('denoiser.compile="default"',)])
def test_the_files_tell_of_the_models_what_the_opened_models_do(project, settings):
    fit(Recipe.load(project / "recipe.toml"))
    recipe = Recipe.load(project / "recipe.toml", settings)
    assert identify(recipe) == Models.of(recipe, "cpu").identity


def test_memory_is_the_same_after_thirty_units_as_after_three(recipe, tmp_path):
    make, held = build(prepared(recipe, tmp_path / "dataset")), []
    for _ in range(10):
        for unit in range(3):
            make(unit)
        held.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert held[-1] - held[0] < 8e6, held

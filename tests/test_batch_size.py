import json
from pathlib import Path

import pytest

from cluster import Cluster
from pipelines.dataset.shards import read_shards
from pipelines.errors import RecipeError
from pipelines.recipe import Recipe
from pipelines.stages.fit import fit
from pipelines.stages.generate import generate
from pipelines.units.batch_size import batch_for, even, largest_batch
from pipelines.units.models import Models


@pytest.mark.parametrize(("fixed", "each", "room"), [(10.0, 3.0, 40.0), (0.0, 7.0, 700.0), (5.0, 1.0, 6.0)])
def test_the_batch_is_the_largest_whose_peak_is_within_the_room(fixed: float, each: float, room: float) -> None:
    fits = [size for size in range(1, 1000) if fixed + each * size <= room]
    assert batch_for(fixed + each, fixed + 3 * each, room, most=1000) == max(fits)


def test_a_batch_is_never_more_than_a_unit() -> None:
    assert batch_for(1.0, 3.0, 1e9, most=40) == 40


@pytest.mark.parametrize(("most", "unit", "even_batch"), [(87, 100, 50), (25, 100, 25), (40, 100, 34), (16, 8, 8)])
def test_a_unit_is_cut_into_batches_of_about_the_same_size(most: int, unit: int, even_batch: int) -> None:
    batch = even(most, unit)
    assert batch == even_batch <= most
    assert -(-unit // batch) == -(-unit // most)


def test_a_device_without_room_for_one_image_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"an image takes 2\.0 GiB, .* has 1\.0 GiB for it"):
        batch_for(2.0 * 2**30, 3.0 * 2**30, 1.0 * 2**30, most=40)


def test_an_unsettled_batch_makes_no_unit(project: Path) -> None:
    recipe = Recipe.load(project / "recipe.toml", ('generate.batch_size="auto"',))
    with pytest.raises(RecipeError, match=r'generate\.batch_size is "auto", which only'):
        _ = recipe.generate.batch


def test_auto_is_settled_once_and_kept_with_the_dataset(project: Path, ray_cluster: Cluster) -> None:
    asked = Recipe.load(project / "recipe.toml", ('generate.batch_size="auto"', "generate.samples=6"))
    fit(asked)
    settled = largest_batch(Models.of(asked, "cpu"), asked, "cpu")
    assert generate(asked).fresh
    folder = project / "out" / "dataset"
    assert json.loads((folder / "dataset.json").read_text())["recipe"]["batch_size"] == settled
    assert len(list(read_shards(folder))) == 5
    assert not generate(asked).fresh
    with_number = Recipe.load(project / "recipe.toml", (f"generate.batch_size={settled}", "generate.samples=6"))
    assert not generate(with_number).fresh

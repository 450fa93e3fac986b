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

PEAKS = {  # bytes of so many images
    "grows with each": lambda batch: 7.0 * batch,
    "a part is for all": lambda batch: 10.0 + 3.0 * batch,
    "begins to grow late": lambda batch: max(100.0, 2.0 * batch),
    "grows faster later": lambda batch: max(20.0 + batch, 5.0 * batch),
}


@pytest.mark.parametrize("room", [130.0, 700.0, 4321.0])
@pytest.mark.parametrize("name", PEAKS)
def test_a_batch_fits_and_is_more_than_half_of_the_largest_that_does(name: str, room: float) -> None:
    peak = PEAKS[name]
    batch = batch_for(peak, room, most=10_000)
    assert peak(batch) <= room
    assert batch > max(size for size in range(1, 10_000) if peak(size) <= room) / 2


def test_a_batch_is_never_more_than_a_unit() -> None:
    assert batch_for(lambda batch: float(batch), 1e9, most=40) == 40


@pytest.mark.parametrize(("most", "unit", "even_batch"), [(87, 100, 50), (25, 100, 25), (40, 100, 34), (16, 8, 8)])
def test_a_unit_is_cut_into_batches_of_about_the_same_size(most: int, unit: int, even_batch: int) -> None:
    batch = even(most, unit)
    assert batch == even_batch <= most
    assert -(-unit // batch) == -(-unit // most)


def test_a_device_without_room_for_one_image_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"an image takes 2\.0 GiB, .* has 1\.0 GiB for it"):
        batch_for(lambda batch: batch * 2.0 * 2**30, 1.0 * 2**30, most=40)


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

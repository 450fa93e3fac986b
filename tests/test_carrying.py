"""Models on machines that do not have their files."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from conftest import make_denoiser
from published import write_small_mae

from cluster import Carried, Cluster, ClusterError, Done, Resources, run_units
from pipelines import Recipe
from pipelines.dataset.reports import Report
from pipelines.driver.carrying import carried_models, with_models
from pipelines.errors import DatasetError
from pipelines.stages.fit import fit
from pipelines.units.builder import Plan, build, planned


@dataclass(frozen=True)
class CachingIn:
    """The builder, on a machine whose cache is this folder; every write of a copy leaves a file there."""

    folder: Path
    builder: Callable[[], Callable[[int], Any]]

    def __call__(self) -> Callable[[int], Any]:
        os.environ["XDG_CACHE_HOME"] = str(self.folder)
        write = Carried.write

        def noted(carried: Carried, to: Path) -> None:
            (self.folder / f"wrote-{uuid4()}").touch()
            write(carried, to)

        setattr(Carried, "write", noted)  # noqa: B010
        return self.builder()


def rebuilding(plan: Plan) -> Callable[[Recipe], Callable[[int], Report]]:
    """As the stage builds: the plan with the recipe whose models lie on this machine."""
    return lambda recipe: build(replace(plan, recipe=recipe))


@pytest.fixture
def recipe(project: Path) -> Recipe:
    fit(Recipe.load(project / "recipe.toml"))
    return Recipe.load(project / "recipe.toml", ('cluster.address="auto"',))


def test_models_travel_to_machines_that_lack_them_and_are_written_once(
    ray_cluster: Cluster, recipe: Recipe, project: Path, tmp_path: Path
) -> None:
    plan = planned(recipe)
    alone = build(planned(Recipe.load(project / "recipe.toml", (f'paths.dataset="{tmp_path / "alone"}"',))))
    expected = [alone(unit).sha256 for unit in range(4)]
    travelling = CachingIn(tmp_path / "cache", with_models(rebuilding(plan), plan.recipe))
    shutil.rmtree(project / "model")
    shutil.rmtree(project / "out" / "interpreter")
    outcomes = sorted(run_units(travelling, range(4), actors=2, resources=Resources()), key=lambda o: o.unit)
    assert [outcome.result.sha256 for outcome in outcomes if isinstance(outcome, Done)] == expected
    copies = [path.name for path in (tmp_path / "cache").glob("datasetddpm/*/*") if path.name != "lock"]
    assert sorted(copies) == ["interpreter", "model"]
    assert len(list((tmp_path / "cache").glob("wrote-*"))) == 2


def test_without_their_files_and_without_taking_them_along_no_actor_can_be_built(
    ray_cluster: Cluster, recipe: Recipe, project: Path
) -> None:
    plan = planned(recipe)
    shutil.rmtree(project / "out" / "interpreter")
    with pytest.raises(ClusterError, match=r"InterpreterError: .* holds no"):
        next(run_units(partial(build, plan), range(4), actors=1, resources=Resources()))


def test_what_all_machines_share_does_not_travel(ray_cluster: Cluster, recipe: Recipe, project: Path) -> None:
    shared = Recipe.load(project / "recipe.toml", ('cluster.address="auto"', f'cluster.shared=["{project}"]'))
    for stays in (shared, Recipe.load(project / "recipe.toml")):
        assert carried_models(stays) == {}
    assert set(carried_models(recipe)) == {"denoiser", "interpreter"}


def test_weights_of_another_source_travel_too(ray_cluster: Cluster, project: Path) -> None:
    write_small_mae(project / "mae.pth")
    settings = ("interpreter.features=mae", "interpreter.mae_heads=2", "interpreter.layers.mae=[1]")
    where = ("paths.weights.mae=mae.pth", 'cluster.address="auto"')
    recipe = Recipe.load(project / "recipe.toml", (*settings, *where))
    fit(recipe)
    builder = with_models(lambda there: lambda _: Path(there.paths.weights["mae"]).read_bytes(), recipe)
    expected = (project / "mae.pth").read_bytes()
    (project / "mae.pth").unlink()
    (done,) = run_units(CachingIn(project / "cache", builder), [0], actors=1, resources=Resources())
    assert isinstance(done, Done)
    assert done.result == expected


def test_a_machine_with_other_weights_at_the_same_path_makes_nothing(recipe: Recipe, project: Path) -> None:
    plan = planned(recipe)
    other = make_denoiser()
    other.unet.conv_in.weight.data += 1
    shutil.rmtree(project / "model")
    other.save_pretrained(project / "model")
    with pytest.raises(ValueError, match="fitted on"):
        build(plan)
    fit(Recipe.load(project / "recipe.toml"))
    with pytest.raises(DatasetError, match="holds a dataset of another recipe, model or file"):
        build(plan)


def test_a_machine_that_does_not_see_the_datasets_folder_makes_nothing(recipe: Recipe, project: Path) -> None:
    plan = planned(recipe)
    shutil.rmtree(project / "out" / "dataset")
    with pytest.raises(RuntimeError, match=r"does not see the dataset\.json that lies in .*; name a folder"):
        build(plan)

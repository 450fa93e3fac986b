"""A whole stage on an actor of the recipe's cluster."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster import Cluster, ClusterError
from pipelines import Recipe, RecipeError
from pipelines.driver.placing import marked, must_see, placed
from pipelines.record import Outcome


@dataclass(frozen=True)
class Stage:
    """Says in which process it was made; what it raises, and whether its process is lost the first time, are fields."""

    notes: Path
    raises: Exception | None = None
    lost_once: bool = False

    def __call__(self, recipe: Recipe) -> Outcome:
        if self.raises:
            raise self.raises
        if self.lost_once and not self.notes.exists():
            self.notes.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        assert recipe.paths.out.is_absolute()
        return Outcome(str(os.getpid()), recipe.paths.out, 0.0, fresh=True)


@pytest.fixture
def recipe(project: Path) -> Recipe:
    return Recipe.load(project / "recipe.toml", ('cluster.address="auto"',))


def test_a_stage_runs_in_this_process_unless_the_recipe_names_a_cluster(project: Path) -> None:
    recipe = Recipe.load(project / "recipe.toml")
    assert placed("stage", Stage(project / "notes"), recipe).clause == str(os.getpid())


def test_a_stage_runs_on_an_actor_and_again_when_that_is_lost(
    ray_cluster: Cluster, recipe: Recipe, tmp_path: Path
) -> None:
    outcome = placed("stage", Stage(tmp_path / "notes", lost_once=True), recipe)
    assert outcome.clause != str(os.getpid())
    assert (tmp_path / "notes").exists()


def test_a_mistake_of_the_users_comes_back_as_what_it_is(ray_cluster: Cluster, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such block") as caught:
        placed("stage", Stage(tmp_path / "notes", raises=RecipeError("no such block")), recipe)
    assert "Traceback" in caught.value.__notes__[0]


def test_a_stage_that_keeps_failing_is_a_cluster_error(ray_cluster: Cluster, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="stage failed 3 times on the cluster: ArithmeticError: too hot"):
        placed("stage", Stage(tmp_path / "notes", raises=ArithmeticError("too hot")), recipe)


def test_a_machine_that_does_not_share_the_output_folder_is_named(tmp_path: Path) -> None:
    with marked(tmp_path / "out") as mark:
        must_see(mark)
        with pytest.raises(RecipeError, match=r"does not see what lies in .*elsewhere; let paths\.out be a folder"):
            must_see(tmp_path / "elsewhere" / mark.name)
    assert list((tmp_path / "out").iterdir()) == []

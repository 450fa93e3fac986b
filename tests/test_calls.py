"""How many functions of ours lie between `datasetddpm generate` and a solver's step: the figure is not to grow."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import ray
from diffusers import DPMSolverMultistepScheduler

from cluster import Cluster, Resources
from cluster.actor import Actor, Built, Made, Order
from generate import sampler
from pipelines import Recipe
from pipelines.stages.fit import fit
from pipelines.units.builder import build, planned

ROOT = Path(__file__).parent.parent
OURS = tuple(f"{ROOT / room}/" for room in ("generate", "label", "deeplab", "cluster", "pipelines"))
BY_RAY, IN_PROCESS = 10, 6


def our_functions() -> list[str]:
    """Names of all functions of ours that are at work in this thread, the innermost last."""
    names: list[str] = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return names[::-1]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The functions of ours at work in each step of a solver, the last its formula, where that is not diffusers'."""
    stacks: list[list[str]] = []

    def noted(formula: Callable[..., Any], *ours: str) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            stacks.append([*our_functions(), *ours])
            return formula(*arguments, **options)

        return step

    monkeypatch.setattr(sampler, "ddim_step", noted(sampler.ddim_step, "ddim_step"))
    monkeypatch.setattr(DPMSolverMultistepScheduler, "step", noted(DPMSolverMultistepScheduler.step))
    return stacks


@pytest.fixture(params=["ddim", "dpmsolver++"])
def recipe(request: pytest.FixtureRequest, project: Path) -> Recipe:
    fit(Recipe.load(project / "recipe.toml"))
    return Recipe.load(project / "recipe.toml", (f"generate.solver={request.param}", "generate.samples=6"))


def test_without_ray_a_step_is_at_most_six_functions_away(recipe: Recipe, steps: list[list[str]]) -> None:
    build(planned(recipe))(0)
    assert steps
    assert max(map(len, steps)) <= IN_PROCESS, steps


def test_by_way_of_ray_a_step_is_at_most_ten_functions_away(
    recipe: Recipe,
    steps: list[list[str]],
    ray_cluster: Cluster,
    command: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of the driver while it waits for its actors, and those of an actor while it makes a unit."""
    waits: list[list[str]] = []
    wait = ray.wait

    def noted(*arguments: Any, **options: Any) -> Any:
        waits.append(our_functions())
        return wait(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ray, "wait", noted)
        path, settings = recipe.paths.out.parent / "recipe.toml", ("generate.samples=6", "cluster.actors=1")
        command("generate", path, *(word for setting in settings for word in ("--set", setting)))
    for variable in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(variable, "")  # an actor sets them for good, and this process is none
    actor: Any = Actor()  # which Ray types as one whose methods are remote
    plan = planned(in_another_folder(recipe))
    assert isinstance(actor.build(Order.of(partial(build, plan), Resources())), Built)
    assert isinstance(actor.make(0), Made)
    assert waits
    assert steps
    assert max(map(len, waits)) + max(map(len, steps)) <= BY_RAY, (waits[-1], steps[-1])


def in_another_folder(recipe: Recipe) -> Recipe:
    paths = recipe.paths.model_copy(update={"dataset": recipe.paths.out / "another"})
    return recipe.model_copy(update={"paths": paths})


def test_a_function_more_is_counted() -> None:
    outer = compile("def outer(inner):\n    return inner()", str(ROOT / "pipelines" / "more.py"), "exec")
    scope: dict[str, Any] = {}
    exec(outer, scope)
    assert scope["outer"](our_functions) == ["outer"]

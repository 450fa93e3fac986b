"""The table of stages: what a command makes, and what comes after it."""

import inspect
import pickle
from importlib import import_module

import pytest

from pipelines import Recipe
from pipelines.driver.submission import NEEDS
from pipelines.record import Outcome
from pipelines.stages import STAGES, Stage, next_stage, stages_of_run


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_stage_makes_an_outcome_of_a_recipe(stage: Stage) -> None:
    module, _, name = stage.function.partition(":")
    function = getattr(import_module(f"pipelines.stages.{module}"), name)
    recipe, *options = inspect.signature(function).parameters.values()
    assert (recipe.annotation, inspect.signature(function).return_annotation) == (Recipe, Outcome)
    assert all(option.default is not inspect.Parameter.empty for option in options)


def test_a_stage_is_followed_by_the_one_that_reads_what_it_made() -> None:
    names = ["train-ddpm", "sample", "fit", "generate", "train", "evaluate", "report"]
    assert list(STAGES) == names
    recipe = Recipe.load("demo")
    assert [next_stage(STAGES[name], recipe) for name in names] == [*(STAGES[name] for name in names[1:]), None]
    assert next_stage(STAGES["fit"], Recipe.load("ddpm_seg/horse_21")) == STAGES["evaluate"]


def test_a_stage_travels_to_an_actor() -> None:
    assert pickle.loads(pickle.dumps(STAGES["fit"].make)).__self__ == STAGES["fit"]


def test_what_finds_its_own_machines_may_be_submitted() -> None:
    assert {name for name, stage in STAGES.items() if stage.on_ray} | {"run"} == set(NEEDS)


@pytest.mark.parametrize(
    ("without", "names"),
    [
        ("", ["fit", "generate", "train", "evaluate", "report"]),
        ("held_out", ["fit", "generate", "train"]),
        ("generate", ["fit", "evaluate"]),
    ],
)
def test_a_run_is_of_the_stages_that_the_recipe_has_something_for(tmp_path, without: str, names: list[str]) -> None:
    keys = {key: f'{key} = "{key}"\n' for key in ("out", "denoiser", "annotated", "held_out") if key != without}
    generate = "" if without == "generate" else "[generate]\nsamples = 4\n"
    path = tmp_path / "recipe.toml"
    path.write_text('name = "short"\n[paths]\n' + "".join(keys.values()) + generate)
    assert [stage.name for stage in stages_of_run(Recipe.load(path))] == names

"""Stage generate: what it asks of the storage, and what it finds out before Ray is started."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cluster import Cluster
from generate import CheckpointError
from label import InterpreterError
from pipelines import Recipe, RecipeError
from pipelines.files import lease
from pipelines.stages import generate as generate_stage
from pipelines.stages.fit import fit
from pipelines.stages.generate import generate

ROOT = Path(__file__).parent.parent


def test_a_run_lists_its_folder_three_times_and_reads_each_report_once(
    fitted: Path, ray_cluster: Cluster, traffic: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease.storage, "names", lambda folder: {path.name for path in folder.iterdir()})  # the lease's
    reports = [f"shard-{unit:06d}.json" for unit in range(4)]
    recipe = Recipe.load(fitted / "recipe.toml")
    outcome = generate(recipe)
    assert (outcome.fresh, outcome.failures) == (True, [])
    assert traffic["list"] <= 3
    assert [traffic[name] for name in reports] == [1] * 4
    traffic.clear()
    found = generate(recipe)
    assert (found.fresh, found.clause) == (False, outcome.clause)
    assert traffic["list"] == 1
    assert all(traffic[name] <= 1 for name in reports)


def test_a_finished_dataset_is_found_without_torch_and_without_an_actor(fitted: Path, ray_cluster: Cluster) -> None:
    generate(Recipe.load(fitted / "recipe.toml"))
    code = (
        "import sys; from pathlib import Path; from pipelines import Recipe; from pipelines.stages.generate import "
        f"generate; import ray; assert not generate(Recipe.load(Path({str(fitted / 'recipe.toml')!r}))).fresh; "
        "assert not ray.is_initialized(); print(*{'torch', 'diffusers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("settings", [(), ('generate.batch_size="auto"',)], ids=["number", "auto"])
def test_what_is_wrong_with_the_models_is_said_before_ray_is_started(
    fitted: Path, settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_stage, "connect", lambda address: pytest.fail("Ray was started"))

    def generated(*more: str) -> None:
        generate(Recipe.load(fitted / "recipe.toml", (*settings, *more)))

    (fitted / "model" / "scheduler" / "scheduler_config.json").rename(fitted / "config.json")
    with pytest.raises(CheckpointError, match=r"holds no scheduler/scheduler_config\.json"):
        generated()
    (fitted / "config.json").rename(fitted / "model" / "scheduler" / "scheduler_config.json")
    shorten_the_schedule(fitted)
    with pytest.raises(RecipeError, match=r"generate\.steps: 1000 solver steps were asked for; 1 to 500 are possible"):
        generated("generate.steps=1000")
    weights = fitted / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InterpreterError, match="was fitted on denoiser"):
        generated()
    (fitted / "out" / "interpreter" / "features.json").unlink()
    with pytest.raises(RecipeError, match=r"features\.json is damaged or gone; run `datasetddpm fit` again"):
        generated()
    assert not (fitted / "out" / "dataset").exists()


def shorten_the_schedule(project: Path) -> None:
    """A denoiser of 500 timesteps, and an interpreter that is fitted on it."""
    path = project / "model" / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"trained_betas": config["trained_betas"][:500]}))
    fit(Recipe.load(project / "recipe.toml"))

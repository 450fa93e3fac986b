"""Stage generate: units over actors until every shard of the dataset is there."""

import time
from pathlib import Path

from cluster import Failed, Resources, connect, run_units, stop_on_signals
from generate import spaced_timesteps
from pipelines.fit_interpreter import interpreter_folder
from pipelines.progress import console, follow
from pipelines.recipe import Recipe, RecipeError
from pipelines.shards import claim, committed_units, reports, write_index
from pipelines.stage import Outcome, device
from pipelines.worker import Builder, Models, describe


def dataset_folder(recipe: Recipe) -> Path:
    return recipe.paths.out / "dataset"


def generate(recipe: Recipe) -> Outcome:
    """Make the units that are not committed yet; those that fail are named, and the others finished."""
    start, folder, settings = time.perf_counter(), dataset_folder(recipe), recipe.generate
    models = Models.open(recipe.paths.denoiser, interpreter_folder(recipe), "cpu")
    try:
        spaced_timesteps(settings.steps, models.denoiser.schedule, settings.solver)
    except ValueError as error:
        raise RecipeError(f"generate.steps: {error}") from error
    dataset = describe(models, settings)
    claim(folder, dataset)
    missing = sorted(set(settings.units) - committed_units(folder))
    builder = Builder(
        folder.resolve(), recipe.paths.denoiser.resolve(), interpreter_folder(recipe).resolve(), settings, dataset
    )
    failures = _make(recipe, builder, missing) if missing else []
    if missing:
        write_index(folder)
    made = reports(folder)
    kept, dropped = (sum(r.counts[reason] for r in made) for reason in ("kept", "uncertain"))
    what = f"{kept} labelled images in {len(made)} shards, {dropped} dropped as too uncertain"
    return Outcome(what, folder, time.perf_counter() - start, bool(missing), failures)


def _make(recipe: Recipe, builder: Builder, missing: list[int]) -> list[str]:
    """Run the units; returns what failed, one sentence a unit."""
    settings, failures, unheard = recipe.generate, [], set(missing)
    gpus = float(device() == "cuda") if recipe.cluster.gpus == "auto" else recipe.cluster.gpus
    actors = min(recipe.cluster.actors, len(missing))
    with connect() as ray, stop_on_signals() as stop:
        console.print(
            f"generate: Ray at {ray.address}, {actors} actors for {len(missing)} of {len(settings.units)} units"
        )
        outcomes = run_units(
            builder,
            missing,
            actors=actors,
            resources=Resources(cpus=recipe.cluster.cpus, gpus=gpus),
            retries=recipe.cluster.retries,
            stop=stop,
        )
        for outcome in follow(
            outcomes,
            sum(len(settings.seeds(unit)) for unit in missing),
            "generate",
            "images",
            count=lambda o: len(settings.seeds(o.unit)),
        ):
            unheard.discard(outcome.unit)
            if isinstance(outcome, Failed):
                failures.append(f"unit {outcome.unit} failed {outcome.attempts} times: {outcome.reason}")
                console.print(outcome.traceback)
    if unheard:
        failures.append(f"stopped before units {', '.join(map(str, sorted(unheard)))}; run it again to go on")
    return failures

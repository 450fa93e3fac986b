"""Stage generate: units over actors until every shard of the dataset is there."""

import time

from cluster import Failed, Resources, connect, run_units, stop_on_signals
from pipelines.progress import console, follow
from pipelines.recipe import Recipe
from pipelines.shards import committed_units, reports, write_index
from pipelines.stage import Outcome, device
from pipelines.worker import Builder


def generate(recipe: Recipe) -> Outcome:
    """Make the units that are not committed yet; those that fail are named, and the others finished."""
    start = time.perf_counter()
    builder = Builder.of(recipe)
    missing = sorted(set(recipe.generate.units) - committed_units(builder.folder))
    failures = _make(recipe, builder, missing) if missing else []
    if missing:
        write_index(builder.folder)
    made = reports(builder.folder)
    kept, dropped = (sum(r.counts[reason] for r in made) for reason in ("kept", "uncertain"))
    what = f"{kept} labelled images in {len(made)} shards, {dropped} dropped as too uncertain"
    return Outcome(what, builder.folder, time.perf_counter() - start, bool(missing), failures)


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

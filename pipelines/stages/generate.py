"""Stage generate: units over actors until every shard of the dataset is there."""

import time
from contextlib import closing
from dataclasses import replace

from cluster import Crew, Failed, Gauges, connect, run_units, stop_on_signals
from pipelines import storage
from pipelines.dataset.damage import remove_damages, remove_temporaries
from pipelines.dataset.index import totals, write_index
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.lease import Lease, leased
from pipelines.driver.carrying import with_models
from pipelines.driver.monitor import keep, shown
from pipelines.driver.placing import one_answer
from pipelines.driver.resources import device_of, limits_of, resources_of
from pipelines.driver.tally import Failure, Tally, ranges
from pipelines.errors import LeaseError
from pipelines.folders import dataset_folder
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import Outcome
from pipelines.units.batch_size import MeasureBatch, kept_batch
from pipelines.units.builder import Builder


def generate(recipe: Recipe, *, repair: bool = False) -> Outcome:
    """Make the units that are not committed yet; those that fail are named, and the others finished.

    With `repair` every byte is read first, and what is damaged is removed and made again.
    Raises LeaseError when another driver writes there, ClusterError and StorageError when there is no going on.
    """
    start = time.perf_counter()
    recipe = _with_batch(recipe)
    builder = Builder.of(recipe)
    fresh, failures = False, []
    if repair or _is_unfinished(recipe, builder):
        with leased(builder.folder) as lease:
            fresh, failures = _finish(recipe, builder, lease, repair=repair)
    total = totals(take_inventory(builder.folder))
    what = f"{total.kept} labelled images in {total.shards} shards, {total.dropped} dropped by the filter"
    return Outcome(what, builder.folder, time.perf_counter() - start, fresh, failures)


def _with_batch(recipe: Recipe) -> Recipe:
    """The recipe with a number for a batch_size of "auto": the dataset's, or what an actor measures."""
    if recipe.generate.batch_size != "auto":
        return recipe
    if (kept := kept_batch(dataset_folder(recipe))) is not None:
        return recipe.with_batch(kept)
    settings = recipe.cluster
    with connect(settings.address) as ray:
        resources = resources_of(settings, ray.gpus)
        measure = MeasureBatch(recipe.resolved(), device_of(settings, resources))
        what = "measuring generate.batch_size, for which a number may be given,"
        found = one_answer(with_models(measure), what, resources, limits_of(settings))
    console.print(f"generate: {found} images at once, which {measure.device} has room for")
    return recipe.with_batch(found)


def _missing(recipe: Recipe, builder: Builder) -> list[int]:
    return take_inventory(builder.folder).missing(recipe.generate.units)


def _is_unfinished(recipe: Recipe, builder: Builder) -> bool:
    inventory = take_inventory(builder.folder)
    return bool(not inventory.is_indexed or inventory.temporaries or inventory.missing(recipe.generate.units))


def _finish(recipe: Recipe, builder: Builder, lease: Lease, *, repair: bool) -> tuple[bool, list[str]]:
    """Whether anything was made, and what failed, one sentence each."""
    folder = builder.folder
    if left := remove_temporaries(take_inventory(folder)):
        console.print(f"generate: removed {len(left)} temporary files of a run that was killed")
    for damage in remove_damages(folder) if repair else []:
        console.print(f"generate: {damage}; removed")
    missing = _missing(recipe, builder)
    if missing:
        storage.remove(folder / "index.parquet")  # it would not know the new shards, should this run be killed
    try:
        failures = _make(recipe, builder, missing, lease) if missing else []
    finally:
        remove_temporaries(take_inventory(folder))
    write_index(take_inventory(folder))
    return bool(missing), failures


def _make(recipe: Recipe, builder: Builder, missing: list[int], lease: Lease) -> list[str]:
    """Run the units; returns what failed, one sentence a unit, and what was not begun."""
    tally = Tally(len(recipe.generate.units), recipe.generate.samples)
    tally.units_done = tally.units - len(missing)
    tally.samples_done = tally.samples - sum(len(recipe.generate.seeds(unit)) for unit in missing)
    try:
        unheard = _run(recipe, builder, missing, lease, tally)
        tally.ended = f"stopped before units {ranges(unheard)}" if unheard else "finished"
    except BaseException as error:
        tally.ended = f"stopped: {error or type(error).__name__}"
        raise
    finally:
        keep(tally, builder.folder)
    failures = [f"unit {f.unit} failed {f.attempts} times: {f.reason}" for f in tally.failures]
    return [*failures, f"{tally.ended}; run it again to go on"] if unheard else failures


def _run(recipe: Recipe, builder: Builder, missing: list[int], lease: Lease, tally: Tally) -> set[int]:
    """Returns the units of which nothing was heard."""
    settings, unheard, crew, batch_size = recipe.cluster, set(missing), Crew(), recipe.generate.batch
    with connect(settings.address) as ray, stop_on_signals() as stop:
        resources, gauges = resources_of(settings, ray.gpus), Gauges("datasetddpm")
        console.print(
            f"generate: Ray at {ray.address}, {settings.actors} actors for {len(missing)} of {tally.units} units"
        )

        def look() -> None:
            tally.alive, tally.waiting = crew.alive, crew.waiting
            gauges.set(tally.numbers())

        outcomes = run_units(
            with_models(replace(builder, device=device_of(settings, resources))),
            missing,
            actors=None if settings.actors == "auto" else settings.actors,
            resources=resources,
            retries=settings.retries,
            stop=stop,
            limits=limits_of(settings),
            crew=crew,
        )
        with closing(outcomes), shown(tally, builder.folder, look):
            for outcome in outcomes:
                if lease.lost:
                    raise LeaseError(f"{builder.folder} was taken over by another driver; this one stops")
                unheard.discard(outcome.unit)
                if isinstance(outcome, Failed):
                    tally.failures.append(Failure(outcome.unit, outcome.reason, outcome.attempts))
                    console.print(outcome.traceback)
                    keep(tally, builder.folder)
                    continue
                report = outcome.result
                tally.add(sum(report.counts.values()), report.counts["kept"])
                if report.batch_size is not None and report.batch_size < batch_size:
                    console.print(
                        f"generate: a GPU was out of memory, so the batch is {report.batch_size} in place of "
                        f"{batch_size} on its actor; the samples made so say it"
                    )
                    batch_size = report.batch_size
    return unheard

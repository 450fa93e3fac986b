"""Stage generate: units over actors until every shard of the dataset is there."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

from cluster import Crew, Done, Failed, Stop, connect, run_units, stop_on_signals
from pipelines.dataset.damage import remove_damages, remove_temporaries
from pipelines.dataset.growing import is_settled, settle
from pipelines.dataset.index import indexed, write_index
from pipelines.dataset.inventory import INDEX, Inventory, take_inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.reports import Report, Totals
from pipelines.driver.carrying import with_models
from pipelines.driver.monitor import keep, shown
from pipelines.driver.placing import one_answer
from pipelines.driver.resources import device_of, limits_of, resources_of
from pipelines.driver.tally import Failure, Tally, ranges
from pipelines.files import storage
from pipelines.files.lease import leased
from pipelines.folders import dataset_folder
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import Outcome
from pipelines.stages.made_with import must_be_fitted_so, say_what_is_unfinished
from pipelines.stopping import Stopped
from pipelines.units.builder import Plan, build, planned
from pipelines.units.identity import identify

Outcomes = Iterator[Done[Report] | Failed]


def generate(recipe: Recipe, *, repair: bool = False) -> Outcome:
    """Make the units that are not committed yet; those that fail are named, and the others finished.

    With `repair` every byte is read first, and what is damaged is removed and made again.
    Raises LeaseError when another driver writes there, ClusterError and StorageError when there is no going on, and
    Stopped after SIGTERM or Ctrl-C, once the current units are finished or their grace is over.
    """
    if len(datasets := recipe.by_dataset()) > 1:
        return _together([generate(each, repair=repair) for each in datasets])
    must_be_fitted_so(recipe)
    say_what_is_unfinished(recipe)
    start, inventory = time.perf_counter(), take_inventory(dataset_folder(recipe))
    plan = planned(_with_batch(recipe, inventory), inventory)
    units = plan.recipe.generate.units
    is_whole = not (repair or inventory.temporaries or inventory.missing(units))
    if is_whole and is_settled(plan.folder, plan.dataset) and (whole := indexed(inventory)):
        return _outcome(plan, whole, start, fresh=False, failures=[])
    with leased(plan.folder) as lease:
        missing = _cleared(plan, repair=repair).missing(units)
        tally, stop = Tally.of(plan.recipe.generate, missing), Stop()
        try:
            with _running(plan, missing, tally, stop) as outcomes:
                for outcome in outcomes:
                    lease.must_hold()
                    _count(outcome, tally, plan)
        finally:
            inventory = take_inventory(plan.folder)
            if not lease.lost:  # or they may be another driver's
                remove_temporaries(inventory)
        whole = write_index(inventory)
    if tally.unheard:
        raise _stopped(stop, tally, plan)
    failures = [failure.sentence for failure in tally.failures]
    return _outcome(plan, whole, start, fresh=bool(missing), failures=failures)


def _together(made: list[Outcome]) -> Outcome:
    """Of several datasets, each of which has its clause with its place."""
    *others, last = made
    clause = "; ".join([*(f"{outcome.clause} in {outcome.where}" for outcome in others), last.clause])
    failures = [f"{outcome.where}: {failure}" for outcome in made for failure in outcome.failures]
    seconds, fresh = sum(outcome.seconds for outcome in made), any(outcome.fresh for outcome in made)
    return Outcome(clause, last.where, seconds, fresh, failures)


def _with_batch(recipe: Recipe, inventory: Inventory) -> Recipe:
    """The recipe with a number for a batch_size of "auto": the dataset's, or what an actor measures."""
    if recipe.generate.batch_size != "auto":
        return recipe
    if "dataset.json" in inventory.others:
        return recipe.with_batch(open_dataset(inventory.folder).recipe["batch_size"])
    from pipelines.units.batch_size import measuring  # here, since no other recipe's driver needs torch

    identify(recipe)  # what is wrong with the models is said before an actor is started
    settings = recipe.cluster
    with connect(settings.address) as ray:
        resources = resources_of(settings, ray.gpus)
        device = device_of(settings, resources)
        builder = with_models(partial(measuring, device=device), recipe)
        work = "measuring generate.batch_size, for which a number may be given,"
        batch_size = one_answer(builder, work, resources, limits_of(settings))
    console.print(f"generate: {batch_size} images at once, which {device} has room for")
    return recipe.with_batch(batch_size)


def _cleared(plan: Plan, *, repair: bool) -> Inventory:
    """What is there of a dataset that is leased, once all that is half-written or, with `repair`, damaged is not."""
    inventory = take_inventory(plan.folder)
    if removed := remove_temporaries(inventory):
        console.print(f"generate: removed {len(removed)} temporary files of a run that was killed")
    if repair:
        for damage in remove_damages(plan.folder):
            console.print(f"generate: {damage}; removed")
        inventory = take_inventory(plan.folder)
    if settle(inventory, plan.dataset):
        inventory = take_inventory(plan.folder)
    if inventory.missing(plan.recipe.generate.units):
        storage.remove(plan.folder / INDEX)  # it would not know the new shards, should this run be killed
    return inventory


@contextmanager
def _running(plan: Plan, missing: list[int], tally: Tally, stop: Stop) -> Iterator[Outcomes]:
    """Outcomes of the missing units as actors make them; meanwhile the tally is shown, and kept with how it ended."""
    if not missing:
        yield iter(())
        return
    settings, crew = plan.recipe.cluster, Crew()
    try:
        with connect(settings.address) as ray, stop_on_signals(stop):
            resources = resources_of(settings, ray.gpus)
            device, work = device_of(settings, resources), f"{len(missing)} of {tally.units} units"
            console.print(f"generate: Ray at {ray.address}, {settings.actors} actors for {work}")
            outcomes = run_units(
                with_models(lambda recipe: build(replace(plan, recipe=recipe), device), plan.recipe),
                missing,
                actors=None if settings.actors == "auto" else settings.actors,
                resources=resources,
                retries=settings.retries,
                stop=stop,
                limits=limits_of(settings),
                crew=crew,
            )
            with closing(outcomes), shown(tally, plan.folder, crew):
                yield outcomes
        tally.ended = f"stopped before units {ranges(tally.unheard)}" if tally.unheard else "finished"
    except BaseException as error:
        tally.ended = str(error) or "stopped by Ctrl-C"
        raise
    finally:
        keep(tally, plan.folder)


def _count(outcome: Done[Report] | Failed, tally: Tally, plan: Plan) -> None:
    """Count it in the tally, and say why a unit failed or that its batch was halved."""
    tally.unheard.discard(outcome.unit)
    if isinstance(outcome, Failed):
        tally.failures.append(Failure(outcome.unit, outcome.reason, outcome.attempts))
        console.print(outcome.traceback)
        keep(tally, plan.folder)
        return
    report = outcome.result
    tally.add(len(report.candidates), report.counts["kept"])
    if report.batch_size is not None and report.batch_size < tally.batch_size:
        console.print(
            f"generate: a GPU was out of memory, so the batch is {report.batch_size} in place of "
            f"{tally.batch_size} on its actor; the samples made so say it"
        )
        tally.batch_size = report.batch_size


def _stopped(stop: Stop, tally: Tally, plan: Plan) -> Stopped:
    """What ends the command, with how far it came."""
    stopped = Stopped(stop.number)
    stopped.add_note(f"generate was at {tally.units_done} of {tally.units} units, which are kept in {plan.folder}")
    for failure in tally.failures:
        stopped.add_note(failure.sentence)
    return stopped


def _outcome(plan: Plan, whole: Totals, start: float, *, fresh: bool, failures: list[str]) -> Outcome:
    noun = "photographs" if plan.recipe.generate.source.images == "photographs" else "images"
    clause = f"{whole.kept} labelled {noun} in {whole.shards} shards, {whole.dropped} dropped by the filter"
    return Outcome(clause, plan.folder, time.perf_counter() - start, fresh, failures)

"""How far datasets are, from their folders: by names and sizes of shards and what the reports say."""

import time

from pipelines.dataset.damage import plain_damage, unindexed
from pipelines.dataset.inventory import INDEX, Inventory, take_inventory
from pipelines.dataset.manifest import open_dataset, stored_dataset
from pipelines.driver.tally import Tally
from pipelines.files import storage
from pipelines.files.lease import holder
from pipelines.files.storage import Location
from pipelines.folders import dataset_folder
from pipelines.recipe import Recipe
from pipelines.stages.state import Standing, State, unfinished


def of_dataset(folder: Location, units: range) -> Standing:
    inventory = take_inventory(folder)
    if inventory.is_empty:
        return Standing("generate", "missing")
    missing, tally = inventory.missing(units), Tally.read(folder)
    if inventory.count and not missing and (found := _whole(inventory, tally)):
        return found
    notes = [f"{len(units) - len(missing)} of {len(units)} units" if missing else f"{INDEX} is missing"]
    if tally and tally.failures:
        notes.append(f"{len(tally.failures)} failed, `datasetddpm status {folder}` says why")
    samples = len(missing) * tally.samples / tally.units if tally and tally.units else 0.0
    left, entry = samples / tally.pace if tally and tally.pace else None, holder(folder)
    return unfinished("generate", notes, left, [entry] if entry and not entry.owner.is_gone else [])


def planned_units(recipe: Recipe) -> range:
    """Of one dataset: those of the recipe or, of photographs and imports, those that the dataset remembers."""
    stored = stored_dataset(dataset_folder(recipe))
    if recipe.generate.source.images == "photographs" or (stored and not stored.interpreter):
        return stored_units(recipe)
    return recipe.generate.units


def stored_units(recipe: Recipe) -> range:
    stored = stored_dataset(dataset_folder(recipe))
    return stored.units if stored else range(0)


def together(datasets: dict[str, Standing]) -> Standing:
    """Of the datasets of one recipe, by their folders' names: what is true of all, or that there is something to do."""
    several = list(datasets.values())
    if len(several) == 1:
        return several[0]
    states: set[State] = {each.state for each in several}
    mixed: State = "under way" if "under way" in states else "damaged" if "damaged" in states else "stopped"
    state = several[0].state if len(states) == 1 else mixed
    note = "; ".join(f"{name}: {each.note or each.state}" for name, each in datasets.items())
    if state != "done":
        options = [each.options for each in several]
        joined = None if None in options else max(filter(None, options), default="")
        return Standing("generate", state, note=note if state != "missing" else "", options=joined)
    seconds = [each.seconds for each in several if each.seconds is not None]
    whole = sum(seconds) if len(seconds) == len(several) else None
    return Standing("generate", state, max(each.made or 0.0 for each in several), whole, note)


def _whole(inventory: Inventory, tally: Tally | None) -> Standing | None:
    """Of a dataset of which all units are there; None where `generate` has yet to write its index.

    Its seconds are known where one run made all of it; its reports are read, and no shard.
    """
    if "dataset.json" not in inventory.others:
        note = f"{inventory.folder} holds shards, but no dataset.json; restore it, or remove the folder"
        return Standing("generate", "damaged", note=note, options=None)
    if damage := plain_damage(inventory):
        if damage.is_made_again:
            return Standing("generate", "damaged", note=str(damage), options=" --repair")
        note = f"{damage}; restore it, or name another folder in paths.photographed"
        return Standing("generate", "damaged", note=note, options=None)
    dataset = open_dataset(inventory.folder)
    if clause := unindexed(inventory, dataset):
        return None if dataset.interpreter else Standing("generate", "stopped", note=clause, options=None)
    made = time.time() - min(storage.ages(inventory.folder)[name] for name in inventory.reports)
    seconds = tally.updated - tally.started if tally and tally.heard == tally.samples else None
    return Standing("generate", "done", made, seconds, note=f"{inventory.count} shards")

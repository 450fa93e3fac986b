"""What may change of a dataset that is made: more samples and, where its shards hold all candidates, another filter."""

from dataclasses import replace

from pipelines.dataset.damage import remove_unit
from pipelines.dataset.filtering import filtered
from pipelines.dataset.inventory import INDEX, Inventory
from pipelines.dataset.manifest import Dataset, claim
from pipelines.dataset.reports import each_report, write_report
from pipelines.files import storage
from pipelines.files.storage import Location


def is_settled(folder: Location, dataset: Dataset) -> bool:
    """Whether the folder's dataset.json says the same number of samples and the same filter."""
    return claim(folder, dataset).recipe == dataset.recipe


def settle(inventory: Inventory, dataset: Dataset) -> bool:
    """Make a folder of fewer samples, or of another filter, that of `dataset`; whether its files have changed.

    The folder must be leased. Killed and begun again it ends as if it had not been killed: the index goes first, and
    dataset.json changes last. Raises DatasetError as `claim` does.
    """
    folder = inventory.folder
    stored = claim(folder, dataset)
    is_same = stored.recipe == dataset.recipe
    if not is_same:
        storage.remove(folder / INDEX)
    if dataset.keeps_all:
        _filter_anew(inventory, dataset)
    if not is_same:
        if stored.samples < dataset.samples and stored.samples % stored.recipe["unit_size"]:
            remove_unit(folder, stored.units[-1])  # the shorter one, whose batches had other borders
        storage.write_whole(folder / "dataset.json", replace(stored, recipe=dataset.recipe).content())
    return not is_same


def _filter_anew(inventory: Inventory, dataset: Dataset) -> None:
    """Rewrite the reports that another filter wrote; nothing is sampled and no shard read."""
    for report in each_report(inventory):
        now = filtered(report, dataset)
        if now != report:
            write_report(inventory.folder, now)

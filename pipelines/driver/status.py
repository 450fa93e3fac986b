"""What a dataset's folder alone says about the run that makes it, also while another machine does."""

import time

from pipelines.dataset.damage import Damage, damage_beside, damage_of_lists, unindexed
from pipelines.dataset.inventory import Inventory, report_path, take_inventory
from pipelines.dataset.manifest import Dataset, open_dataset
from pipelines.dataset.reports import Totals, counted, each_report
from pipelines.driver.tally import Tally, ranges
from pipelines.files.lease import holder
from pipelines.files.owner import Entry
from pipelines.files.storage import Location
from pipelines.progress import duration


def status(folder: Location) -> dict[str, str]:
    """All there is to say, by name; reads every report, but no shard.

    Raises DatasetError for a folder that is no dataset's.
    """
    dataset, inventory, tally = open_dataset(folder), take_inventory(folder), Tally.read(folder)
    planned, committed, (total, damage) = dataset.units, inventory.count, _counted(inventory, dataset)
    lines = {"units": f"{committed} of {len(planned)}" if planned else f"{committed}"}
    lines["samples"] = f"{total.candidates} candidates"
    if total.candidates:
        share = total.kept / total.candidates
        lines["samples"] += f", {total.kept} kept ({share:.1%}), {total.dropped} dropped"
    if damage:
        lines["damaged"] = f"{damage}; `datasetddpm verify {folder}` looks at every byte"
    if missing := inventory.missing(planned):
        lines["missing"] = f"units {ranges(missing)}"
        if tally is not None and tally.pace:
            lines["rate"] = f"{tally.pace:.2g} samples a second, as the last run measured it"
            lines["left"] = duration((dataset.recipe["samples"] - total.candidates) / tally.pace)
    elif clause := unindexed(inventory, dataset):
        lines["index"] = clause
    return lines | _driver(folder, tally)


def _counted(inventory: Inventory, dataset: Dataset) -> tuple[Totals, Damage | None]:
    """What all reports add up to, each of which is read once, and the first damage that they let see."""
    total, damage = Totals(0, 0, 0), damage_of_lists(inventory)
    for report in each_report(inventory):
        total += counted([report])
        name = report_path(inventory.folder, report.unit).name
        damage = damage or damage_beside(inventory, name, report, dataset)
    return total, damage


def _driver(folder: Location, tally: Tally | None) -> dict[str, str]:
    """Of the run: who writes now, and how the last one ended."""
    lines, entry = {}, holder(folder)
    if entry is not None:
        lines["driver"] = heard_of(entry)
    if tally is not None:
        if entry is not None:
            lines["actors"] = f"{tally.alive} alive, {tally.waiting} waiting"
        lines["last run"] = tally.ended or ("goes on" if entry else "was killed")
        for failure in tally.failures:
            lines[f"unit {failure.unit}"] = f"failed {failure.attempts} times: {failure.reason}"
    return lines


def heard_of(entry: Entry) -> str:
    """Who holds a folder, and when its lease was renewed."""
    age = duration(max(0.0, time.time() - entry.renewed))
    return f"{entry.owner.name}, last heard of {age} ago" + (", gone" if entry.owner.is_gone else "")

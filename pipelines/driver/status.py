"""What a dataset's folder alone says about the run that makes it, also while another machine does."""

import math
import time

from pipelines import storage
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.reports import counted, each_report
from pipelines.driver.tally import RECENT, Tally, ranges
from pipelines.lease import holder
from pipelines.progress import duration
from pipelines.storage import Location


def status(folder: Location) -> dict[str, str]:
    """All there is to say, by name; reads every report, but no shard.

    Raises DatasetError for a folder that is no dataset's.
    """
    planned, inventory = open_dataset(folder).units, take_inventory(folder)
    total, committed = counted(each_report(inventory)), len(inventory.committed)
    lines = {"units": f"{committed} of {len(planned)}" if planned else f"{committed}"}
    lines["samples"] = f"{total.candidates} candidates"
    if total.candidates:
        share = total.kept / total.candidates
        lines["samples"] += f", {total.kept} kept ({share:.1%}), {total.dropped} dropped"
    if missing := inventory.missing(planned):
        lines["missing"] = f"units {ranges(missing)}"
        ages = storage.ages(folder)
        rate = sum(ages.get(name, math.inf) < RECENT for name in inventory.reports) / RECENT
        if rate:
            lines["rate"] = f"{rate * 60:.2f} units a minute in the last {duration(RECENT)}"
            lines["left"] = duration(len(missing) / rate)
    return lines | _driver(folder)


def _driver(folder: Location) -> dict[str, str]:
    """Of the run: who writes now, and how the last one ended."""
    lines, entry, tally = {}, holder(folder), Tally.read(folder)
    if entry is not None:
        age = duration(max(0.0, time.time() - entry.renewed))
        lines["driver"] = f"{entry.owner.name}, last heard of {age} ago" + (", gone" if entry.owner.is_gone else "")
    if tally is not None:
        if entry is not None:
            lines["actors"] = f"{tally.alive} alive, {tally.waiting} waiting"
        lines["last run"] = tally.ended or ("goes on" if entry else "was killed")
        for failure in tally.failures:
            lines[f"unit {failure.unit}"] = f"failed {failure.attempts} times: {failure.reason}"
    return lines

"""What a dataset's folder alone says about the run that makes it, also while another machine does."""

import time

from pipelines import storage
from pipelines.dataset.damage import planned_units
from pipelines.dataset.lease import holder
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.reports import committed_units, each_report, is_report
from pipelines.driver.tally import RECENT, Tally, ranges
from pipelines.progress import duration
from pipelines.storage import Location


def status(folder: Location) -> dict[str, str]:
    """Name and value of all there is to say; reads every report, but no shard. DatasetError: it is no dataset."""
    planned, made = planned_units(open_dataset(folder)), committed_units(folder)
    kept = candidates = 0
    for report in each_report(folder):
        kept, candidates = kept + report.counts["kept"], candidates + sum(report.counts.values())
    said = {"units": f"{len(made)} of {len(planned)}" if planned else f"{len(made)}"}
    said["samples"] = f"{candidates} candidates"
    if candidates:
        said["samples"] += f", {kept} kept ({kept / candidates:.1%}), {candidates - kept} dropped"
    if planned and (missing := set(planned) - made):
        said["missing"] = f"units {ranges(missing)}"
        rate = sum(age < RECENT for name, age in storage.ages(folder).items() if is_report(name)) / RECENT
        if rate:
            said["rate"] = f"{rate * 60:.2f} units a minute in the last {duration(RECENT)}"
            said["left"] = duration(len(missing) / rate)
    return said | _driver(folder)


def _driver(folder: Location) -> dict[str, str]:
    """Of the run: who writes now, and what the last one said."""
    said, entry, tally = {}, holder(folder), Tally.read(folder)
    if entry is not None:
        age = duration(max(0.0, time.time() - entry.renewed))
        said["driver"] = f"{entry.owner.name}, last heard of {age} ago" + (", gone" if entry.owner.is_gone else "")
    if tally is not None:
        if entry is not None:
            said["actors"] = f"{tally.alive} alive, {tally.waiting} waiting"
        said["last run"] = tally.ended or ("goes on" if entry else "was killed")
        for failure in tally.failures:
            said[f"unit {failure.unit}"] = f"failed {failure.attempts} times: {failure.reason}"
    return said

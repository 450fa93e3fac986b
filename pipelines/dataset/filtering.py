"""Which candidates of a unit the filter keeps, said by their report's scores alone: no shard is read."""

from dataclasses import replace

from pipelines.dataset.manifest import Dataset
from pipelines.dataset.reports import Report, counts_of
from pipelines.errors import DatasetError
from pipelines.storage import Location


def filtered(report: Report, dataset: Dataset) -> Report:
    """The report as the dataset's filter and portion have it."""
    import torch  # here, since no other dataset is verified or found with torch

    from label import FILTERS

    scores = torch.tensor([candidate.uncertainty for candidate in report.candidates])
    kept = set(FILTERS[dataset.recipe["filter"]](scores, dataset.recipe["portion"]).tolist())
    candidates = [replace(candidate, kept=i in kept) for i, candidate in enumerate(report.candidates)]
    return replace(report, candidates=candidates, counts=counts_of(candidates))


def refuse_half_filtered(folder: Location, report: Report, dataset: Dataset) -> None:
    """Raises DatasetError where a change of the filter has not come to this report yet."""
    if dataset.keeps_all and filtered(report, dataset) != report:
        raise DatasetError(
            f"{folder}: a change of the filter was interrupted, so shard {report.unit} is filtered otherwise than its "
            "dataset.json says; run `datasetddpm generate` first"
        )

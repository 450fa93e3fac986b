"""Which candidates of a unit the filter keeps, said by their report's scores alone: no shard is read."""

from collections.abc import Sequence
from dataclasses import replace

from label import Filter
from pipelines.dataset.manifest import Dataset
from pipelines.dataset.reports import Candidate, Report, counts_of
from pipelines.errors import DatasetError
from pipelines.files.storage import Location


def filtered(report: Report, dataset: Dataset) -> Report:
    """The report as the dataset's filter and portion have it."""
    candidates = chosen(report.candidates, dataset.recipe["filter"], dataset.recipe["portion"], dataset.names)
    return replace(report, candidates=candidates, counts=counts_of(candidates))


def chosen(candidates: Sequence[Candidate], name: Filter, portion: float, classes: Sequence[str]) -> list[Candidate]:
    """A unit's candidates as a filter has them. Raises DatasetError where it needs what their report does not say."""
    import torch  # here, since no other dataset is verified or found with torch

    from label import FILTERS, Judged

    doubts = [candidate.class_uncertainty or [0.0] * len(classes) for candidate in candidates]
    if name == "class_wise" and not all(candidate.class_uncertainty for candidate in candidates):
        raise DatasetError(
            'generate.filter = "class_wise" needs the uncertainty of each class, which the reports of this dataset do '
            'not say; generate another, or take filter "balanced"'
        )
    judged = Judged(
        torch.tensor([candidate.uncertainty for candidate in candidates]),
        torch.tensor([candidate.class_pixels for candidate in candidates]).reshape(len(candidates), -1),
        torch.tensor(doubts).reshape(len(candidates), -1),
    )
    kept = FILTERS[name](judged, portion)
    stays, reasons = set(kept.indices), {i: classes[class_id] for i, class_id in kept.kept_for.items()}
    return [replace(each, kept=i in stays, kept_for=reasons.get(i)) for i, each in enumerate(candidates)]


def refuse_half_filtered(folder: Location, report: Report, dataset: Dataset) -> None:
    """Raises DatasetError where a change of the filter has not come to this report yet."""
    if dataset.keeps_all and filtered(report, dataset) != report:
        raise DatasetError(
            f"{folder}: a change of the filter was interrupted, so shard {report.unit} is filtered otherwise than its "
            "dataset.json says; run `datasetddpm generate` first"
        )

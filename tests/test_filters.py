"""Which candidates of a unit stay, by each filter; the oracles are loops over all of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from label.filters import FILTERS, Judged, class_wise_scores, keep_balanced
from pipelines.dataset.filtering import filtered
from pipelines.dataset.manifest import Dataset
from pipelines.dataset.reports import Candidate, Report
from pipelines.errors import DatasetError


def judged(uncertainty: list[float], classes: list[list[int]], doubts: list[list[float]] | None = None) -> Judged:
    nats = torch.zeros(len(classes), len(classes[0])) if doubts is None else torch.tensor(doubts)
    return Judged(torch.tensor(uncertainty), torch.tensor(classes), nats)


@st.composite
def units(draw: st.DrawFn) -> tuple[Judged, float]:
    n, classes = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    doubts = draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    pixels = draw(st.lists(st.lists(st.integers(0, 2), min_size=classes, max_size=classes), min_size=n, max_size=n))
    return judged([doubt / 4 for doubt in doubts], pixels), draw(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]))


@given(units())
def test_the_balanced_filter_keeps_exactly_as_many_as_the_others(unit: tuple[Judged, float]) -> None:
    candidates, portion = unit
    kept = keep_balanced(candidates, portion).indices
    n = len(candidates.uncertainty)
    assert len(kept) == n - int(n * portion)
    assert kept == sorted(set(kept))


@given(units())
def test_the_balanced_filter_takes_no_more_of_the_rarest_class_than_its_share(unit: tuple[Judged, float]) -> None:
    candidates, portion = unit
    holds, kept = candidates.class_pixels > 0, keep_balanced(candidates, portion).indices
    holders = min(holds.sum(0).tolist())
    rarest = holds.sum(0).tolist().index(holders)
    assert int(holds[kept, rarest].sum()) >= holders - int(holders * portion)


@given(units())
def test_no_class_loses_more_than_its_share_unless_the_quotas_of_rarer_ones_fill_the_unit(
    unit: tuple[Judged, float],
) -> None:
    candidates, portion = unit
    holds, kept = candidates.class_pixels > 0, keep_balanced(candidates, portion).indices
    quotas = [held - int(held * portion) for held in holds.sum(0).tolist()]
    if sum(quotas) <= len(kept):
        assert all(have >= quota for have, quota in zip(holds[kept].sum(0).tolist(), quotas, strict=True))


def test_the_rarest_class_keeps_its_most_certain_holders_though_they_are_the_least_certain_of_all() -> None:
    hats = [0, 0, 0, 0, 0, 0, 0, 3, 5, 1]  # the three least certain wear the hats
    unit = judged([i / 10 for i in range(10)], [[60, hat] for hat in hats])
    kept = FILTERS["balanced"](unit, 0.4)
    assert FILTERS["most_certain"](unit, 0.4).indices == [0, 1, 2, 3, 4, 5]
    assert kept.indices == [0, 1, 2, 3, 7, 8]  # of three hats one may go
    assert kept.kept_for == {7: 1, 8: 1}


def test_nothing_is_kept_for_a_class_where_the_most_certain_hold_enough_of_it() -> None:
    unit = judged([0.1, 0.2, 0.3, 0.4], [[1, 1], [1, 0], [1, 1], [1, 0]])
    assert FILTERS["balanced"](unit, 0.25).kept_for == {}
    assert FILTERS["balanced"](unit, 0.25).indices == FILTERS["most_certain"](unit, 0.25).indices


def test_of_equal_candidates_the_earlier_stay() -> None:
    assert keep_balanced(judged([0.5] * 4, [[1, 0]] * 4), 0.5).indices == [0, 1]


@given(units())
def test_a_filter_is_a_function_of_the_unit_alone(unit: tuple[Judged, float]) -> None:
    assert keep_balanced(*unit) == keep_balanced(*unit)


def test_a_class_that_is_hard_everywhere_costs_no_image_its_place() -> None:
    pixels = [[60, 4], [64, 0], [64, 0], [64, 0]]
    doubts = [[0.01, 0.5], [0.02, 0.0], [0.01, 0.0], [0.04, 0.0]]  # eyes, at 0.5, are in the first alone
    unit = judged([0.5, 0.02, 0.01, 0.04], pixels, doubts)
    assert FILTERS["most_certain"](unit, 0.25).indices == [1, 2, 3]
    assert FILTERS["class_wise"](unit, 0.25).indices == [0, 1, 2]


def test_class_wise_scores_are_means_of_ratios_over_the_classes_that_are_there() -> None:
    pixels, doubts = [[10, 30], [30, 0], [0, 10]], [[0.2, 0.1], [0.4, 0.0], [0.0, 0.5]]
    means = (10 * 0.2 + 30 * 0.4) / 40, (30 * 0.1 + 10 * 0.5) / 40
    expected = [(0.2 / means[0] + 0.1 / means[1]) / 2, 0.4 / means[0], 0.5 / means[1]]
    assert class_wise_scores(judged([0.0] * 3, pixels, doubts)).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_class_without_any_doubt_or_pixel_changes_no_score() -> None:
    unit = judged([0.0, 0.0], [[5, 5, 0], [5, 0, 0]], [[0.0, 0.1, 0.0], [0.0, 0.0, 0.0]])
    assert class_wise_scores(unit).tolist() == pytest.approx([0.5, 0.0])


def report_of(candidates: list[Candidate]) -> Report:
    return Report(0, "digest", {"kept": len(candidates), "dropped": 0}, {}, 0, "", candidates)


def dataset(name: str, portion: float) -> Dataset:
    recipe = {"filter": name, "portion": portion, "keep_all": True}
    return Dataset("digest", ["skin", "hat"], [[0, 0, 0], [9, 9, 9]], recipe, "denoiser", "interpreter", {})


def test_a_report_counts_what_stays_for_the_sake_of_a_class() -> None:
    hats = [0, 0, 0, 0, 0, 0, 0, 3, 5, 1]
    candidates = [Candidate(i, True, i / 10, [60, hat], [0.1, 0.2]) for i, hat in enumerate(hats)]
    report = filtered(report_of(candidates), dataset("balanced", 0.4))
    assert report.counts == {"kept": 6, "dropped": 4, "kept for hat": 2}
    assert [each.seed for each in report.candidates if each.kept_for == "hat"] == [7, 8]
    again = filtered(report, dataset("most_certain", 0.4))
    assert again.counts == {"kept": 6, "dropped": 4}
    assert filtered(again, dataset("balanced", 0.4)) == report


def test_filtering_class_wise_needs_reports_that_say_the_uncertainty_of_each_class() -> None:
    report = report_of([Candidate(0, True, 0.1, [60, 4])])
    with pytest.raises(DatasetError, match=r'"class_wise" needs the uncertainty of each class, which the rep'):
        filtered(report, dataset("class_wise", 0.5))

"""Scores for people: what is scored, by name, and its mean and deviation over runs."""

import statistics
from collections.abc import Sequence
from typing import Any

from pipelines.folders import scores_folder
from pipelines.recipe import Recipe
from pipelines.record import Record
from pipelines.sections.train import MixedSource

Scored = dict[str, list[dict[str, Any]]]  # source -> a record of scores for each run: what evaluate keeps


def stored_scores(recipe: Recipe) -> Scored:
    """Raises RecipeError where nothing was evaluated yet."""
    return Record.read(scores_folder(recipe)).results


def source_names(recipe: Recipe, kept: int) -> dict[str, str]:
    """What is scored, in words; `kept` is the number of samples in the dataset."""
    network = f"DeepLab{recipe.train.network.variant.upper()}"
    return {
        "interpreter": "interpreter on the images themselves",
        "synthetic": f"{network} on {kept} synthetic images",
        "mixed": f"{network} on {mixture(recipe.train.mix)}",
        "annotated": f"{network} on the annotated images alone",
    }


def mixture(mix: Sequence[MixedSource]) -> str:
    """The sources of a training in words, as "75% synthetic, 25% annotated"."""
    total = sum(each.share for each in mix)
    return ", ".join(f"{each.share / total:.0%} {each.name}" for each in mix if each.share)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The deviation is the sample's; 0 for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def spread(values: Sequence[float]) -> str:
    """Mean and deviation as "0.612 ± 0.010"; a single value has no deviation."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.3f} ± {deviation:.3f}" if len(values) > 1 else f"{mean:.3f}"


def over_runs(values: Sequence[float | None]) -> str:
    """As "0.612 ± 0.010 (3 runs)", of the runs that have the score; "-" where none has."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{spread(known)} ({len(known)} runs)" if len(known) > 1 else spread(known)


def score_page(scored: Scored, classes: Sequence[str], mix: Sequence[MixedSource] = ()) -> str:
    """Markdown tables: the means under both countings, and the IoU of each class; mean and deviation over runs.

    `mix` is what the network called mixed was trained on.
    """
    lines = ["| | mIoU | mIoU, counted as published | pixel accuracy |", "|---|---|---|---|"]
    for source, runs in scored.items():
        keys = ("mean_iou", "published_mean_iou", "pixel_accuracy")
        lines.append(f"| {source} | {' | '.join(over_runs([run[key] for run in runs]) for key in keys)} |")
    lines += ["", f"| IoU | {' | '.join(scored)} |", "|---" * (1 + len(scored)) + "|"]
    for i, name in enumerate(classes):
        cells = (over_runs([run["iou"][i] for run in runs]) for runs in scored.values())
        lines.append(f"| {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} |")
    lines += ["", f"mixed: trained on {mixture(mix)}"] if mix else []
    return "\n".join(lines) + "\n"

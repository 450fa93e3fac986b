"""The chart of a comparison of features: single maps as a heat map or bars, and the joins below them."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.features.choices import Choice, Measured

_SHOWN = 12  # joins
_OWN, _OTHERS = "#f58518", "#4c78a8"


def features_figure(rows: Sequence[Measured], whole: Choice, own: Choice) -> Figure:
    """Single maps on the left, joins and what the recipe reads on the right."""
    singles = [row for row in rows if len(row.choice.places) == 1]
    joined = sorted((row for row in rows if len(row.choice.places) > 1), key=lambda row: row.rank, reverse=True)
    figure = Figure(figsize=(11 if joined else 5, 4.5), layout="constrained")
    left, *right = figure.subplots(1, 2 if joined else 1, squeeze=False, width_ratios=[1, 1.3] if joined else [1])[0]
    if len(whole.keys) == 2:
        _heat_map(figure, left, singles, whole)
    else:
        _bars(left, singles, own)
    for axes in right:
        _bars(axes, joined[:_SHOWN], own)
    return figure


def _heat_map(figure: Figure, axes: Axes, singles: Sequence[Measured], whole: Choice) -> None:
    (first, columns), (second, rows) = whole.keys
    known = {row.choice.places[0]: _number(row) for row in singles}
    values = np.array([[known[column, row] for column in columns] for row in rows])
    picture = axes.imshow(values, cmap="viridis", aspect="auto")
    axes.set(title="single maps", xlabel=first, ylabel=second)
    axes.set_xticks(range(len(columns)), [str(value) for value in columns])
    axes.set_yticks(range(len(rows)), [str(value) for value in rows])
    figure.colorbar(picture, ax=axes, label="mIoU")


def _bars(axes: Axes, rows: Sequence[Measured], own: Choice) -> None:
    names = [row.choice.name.replace("-", " ") for row in rows]
    colours = [_OWN if row.choice == own else _OTHERS for row in rows]
    scores = [_number(row) for row in rows]
    axes.barh(range(len(rows)), scores, color=colours)
    axes.set(title="the recipe's own in orange", xlabel="mIoU of cross-validation")
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    known = [score for score in scores if not math.isnan(score)]
    if known and min(known) < max(known):
        axes.set_xlim(left=max(0.0, min(known) - 0.5 * (max(known) - min(known))))
    axes.invert_yaxis()


def _number(row: Measured) -> float:
    return math.nan if row.mean_iou is None else row.mean_iou

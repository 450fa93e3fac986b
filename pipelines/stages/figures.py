"""Figures of an evaluation: the confusion matrix, and the images on which a model does best and worst."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from label import IGNORE, Annotations, Scheme
from pipelines.files.storage import write_whole

SHOWN = 4  # best images, and as many worst ones
ROWS = ("image", "truth", "prediction", "differences")
RIGHT, WRONG, UNLABELLED = (230, 230, 230), (214, 39, 40), (255, 255, 255)


def save_figure(figure: Figure, path: Path, dpi: int = 100) -> None:
    """Write a PNG, whole or not at all, with all that the figure says; the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, metadata={"Software": None}, bbox_inches="tight")
    write_whole(path, content.getvalue())


def confusion_figure(confusion: Int[np.ndarray, "truth predicted"], names: Sequence[str], title: str) -> Figure:
    """Rows are the truth; each cell is the share of that class's pixels, so that small classes show."""
    totals = confusion.sum(1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    side = 2.5 + 0.32 * len(names) + 0.065 * max(map(len, names))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="predicted", ylabel="truth")
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=7, parse_math=False)
    for row, column in zip(*np.nonzero(shares >= 0.01), strict=True):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color=colour)
    return figure


def image_scores(predictions: UInt8[np.ndarray, "n h w"], truth: UInt8[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """Portion of each image's labelled pixels that are right; nan for one without any."""
    labelled = truth != IGNORE
    right = ((predictions == truth) & labelled).sum((1, 2))
    return np.divide(right, labelled.sum((1, 2)), out=np.full(len(truth), np.nan), where=labelled.any((1, 2)))


def extremes_figure(held_out: Annotations, predictions: UInt8[np.ndarray, "n h w"], title: str) -> Figure:
    """The best images (left) and the worst (right) by pixel accuracy: image, truth, prediction, differences in red."""
    scores = image_scores(predictions, held_out.masks)
    order = [i for i in np.argsort(-scores, kind="stable") if not np.isnan(scores[i])]
    shown = order if len(order) <= 2 * SHOWN else order[:SHOWN] + order[-SHOWN:]
    figure = Figure(figsize=(1.2 * len(shown) + 0.6, 5.4), layout="constrained")
    figure.suptitle(title, fontsize=9)
    grid = figure.subplots(len(ROWS), len(shown), squeeze=False)
    for column, i in zip(grid.T, shown, strict=True):
        pictures = _pictures(held_out.images[i], held_out.masks[i], predictions[i], held_out.scheme)
        for axes, picture in zip(column, pictures, strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        column[0].set_title(f"{held_out.names[i]}\n{scores[i]:.1%}", fontsize=7, parse_math=False)
    for axes, row in zip(grid[:, 0], ROWS, strict=True):
        axes.set_ylabel(row, fontsize=8)
    return figure


def _pictures(
    image: UInt8[np.ndarray, "h w 3"], truth: UInt8[np.ndarray, "h w"], mask: UInt8[np.ndarray, "h w"], scheme: Scheme
) -> tuple[UInt8[np.ndarray, "h w 3"], ...]:
    """One for each of ROWS."""
    differences = np.where((truth == mask)[..., None], RIGHT, WRONG).astype(np.uint8)
    differences[truth == IGNORE] = UNLABELLED
    return image, *(np.asarray(scheme.painted(ids).convert("RGB")) for ids in (truth, mask)), differences

"""The study's page: a table and a figure for each part, of the cells that were measured; the others stay empty."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pipelines.errors import RecipeError
from pipelines.files.storage import write_whole
from pipelines.recipe import Recipe
from pipelines.stages.figures import save_figure
from pipelines.stages.scores import mean_and_deviation, spread
from pipelines.study.cells import result
from pipelines.study.grid import Row, grid

_TITLES = {
    "methods": "Methods on the same held-out images",
    "mixtures": "What a network learns from",
    "filters": "Which labels are believed",
    "solvers": "Solver and steps",
    "amounts": "Number of samples, number of annotated images",
    "features": "The interpreter by single block and single step",
}
_END = "<!-- end -->"
Results = list[dict[str, Any]]


def write_page(recipe: Recipe, page: Path) -> None:
    """Write the page, and its figures beside it as study-<part>.png; a text below `<!-- end -->` is kept.

    Raises RecipeError for a folder that is not there, and for a file that is another document.
    """
    kept = _kept(page)
    rows = [(row, _measured(recipe, row)) for row in grid(recipe)]
    measured = [result for _, results in rows for result in results]
    lines = ["# What the synthetic data is worth", "", *_head(recipe, measured), ""]
    for part in recipe.study.parts:
        of_part = [(row, results) for row, results in rows if row.part == part]
        lines += [f"## {_TITLES[part]}", "", *_table(part, of_part), ""]
        figure = _FIGURES[part](of_part)
        if figure is not None:
            save_figure(figure, page.with_name(f"study-{part}.png"))
            lines += [f"![{_TITLES[part]}](study-{part}.png)", ""]
    write_whole(page, ("\n".join(lines) + _END + kept).encode())


def _kept(page: Path) -> str:
    """What people wrote below the mark."""
    if not page.parent.is_dir():
        raise RecipeError(f"{page.parent} is no folder; make it first, or name another page with --page")
    if not page.exists():
        return "\n"
    text = page.read_text("utf-8", errors="replace") if page.is_file() else ""
    if _END not in text:
        raise RecipeError(f"{page} is no page of a study, it has no {_END}; name another with --page")
    return text.partition(_END)[2]


def _measured(recipe: Recipe, row: Row) -> Results:
    return [measured for cell in row.cells if (measured := result(recipe, cell))]


def _head(recipe: Recipe, measured: Results) -> list[str]:
    if not measured:
        return ["Nothing is measured yet."]
    machines, commits = (", ".join(sorted({result[key] for result in measured})) for key in ("machine", "commit"))
    dates, settings = sorted({result["date"] for result in measured}), recipe.generate
    network, training = recipe.train.network, recipe.train.optimisation
    return [
        f"`datasetddpm study`, {' to '.join(sorted({dates[0], dates[-1]}))}, on {machines}; commits {commits}.",
        f"Unless a row says otherwise: {settings.samples} candidates, {settings.solver} with {settings.steps} steps, "
        f"{settings.portion:.0%} dropped by the filter, DeepLab{network.variant.upper()} ({network.encoder}, scale "
        f"{network.scale}) trained for {training.steps} steps of {recipe.train.batch_size} by {training.loss}. mIoU on "
        "the held-out images, mean and deviation over runs; in brackets, counted as published. A cell that was not run "
        "is empty.",
        "A run is a seed of the interpreter's or the DeepLab's training, with a dataset; a row of painted images has a "
        f"dataset for each of the run seeds {', '.join(map(str, recipe.study.datasets))}, which all seeds share.",
    ]


def _table(part: str, rows: Sequence[tuple[Row, Results]]) -> list[str]:
    if part == "features":
        return _block_table(rows)
    with_dataset = part not in ("methods", "mixtures")
    head = ["", "mIoU", "(as published)", "runs"]
    if with_dataset:
        head += ["seconds an image", "of these sampling", "precision", "recall"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, results in rows:
        cells = [row.label, *_scores(results)]
        if with_dataset:
            cells += _dataset(results)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _scores(results: Results) -> list[str]:
    if not results:
        return [""] * 3
    own, published = (
        spread([_number(result[key]) for result in results]) for key in ("mean_iou", "published_mean_iou")
    )
    return [own, f"({published})", str(len(results))]


def _dataset(results: Results) -> list[str]:
    if not results:
        return [""] * 4
    first = results[0]
    seconds = first["seconds_an_image"]
    return [
        f"{sum(seconds.values()):.2f}",
        f"{seconds.get('sample', 0.0):.2f}",
        f"{first['precision']:.2f}",
        f"{first['recall']:.2f}",
    ]


def _block_table(rows: Sequence[tuple[Row, Results]]) -> list[str]:
    blocks, steps, values = _heat(rows)
    lines = [f"| block | {' | '.join(f'step {step}' for step in steps)} |", "|---" * (1 + len(steps)) + "|"]
    for block, means in zip(blocks, values, strict=True):
        lines.append(f"| {block} | {' | '.join('' if np.isnan(mean) else f'{mean:.3f}' for mean in means)} |")
    return lines


def _heat(rows: Sequence[tuple[Row, Results]]) -> tuple[list[int], list[int], np.ndarray]:
    """Blocks, steps, and mean mIoU [blocks, steps], nan where nothing was measured."""
    keys = [row.cells[0].changes["interpreter"] for row, _ in rows]
    blocks, steps = (sorted({key[name][0] for key in keys}) for name in ("blocks", "steps"))
    values = np.full((len(blocks), len(steps)), np.nan)
    for key, (_, results) in zip(keys, rows, strict=True):
        if results:
            place = blocks.index(key["blocks"][0]), steps.index(key["steps"][0])
            values[place], _ = _mean_iou(results)
    return blocks, steps, values


def _number(score: float | None) -> float:
    """A score that counts no class is none in a cell's file."""
    return math.nan if score is None else score


def _mean_iou(results: Results) -> tuple[float, float]:
    """Mean and deviation."""
    return mean_and_deviation([_number(result["mean_iou"]) for result in results])


def _bars(rows: Sequence[tuple[Row, Results]]) -> Figure | None:
    known = {row.label: _mean_iou(results) for row, results in rows if results}
    if not known:
        return None
    figure = Figure(figsize=(7, 0.5 + 0.4 * len(known)), layout="constrained")
    axes = figure.add_subplot(xlabel="mIoU on the held-out images")
    means, deviations = zip(*known.values(), strict=True)
    axes.barh(list(known), means, xerr=deviations, color="#4c78a8")
    axes.invert_yaxis()
    return figure


def _curves(rows: Sequence[tuple[Row, Results]]) -> Figure | None:
    """mIoU against steps, a line a solver."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row, results in rows:
        changes = row.cells[0].changes["generate"]
        if results:
            lines.setdefault(changes["solver"], []).append((changes["steps"], _mean_iou(results)[0]))
    if not lines:
        return None
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot(xlabel="steps", ylabel="mIoU of DeepLab", xscale="log")
    for solver, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=solver)
    counts = sorted({steps for points in lines.values() for steps, _ in points})
    axes.set_xticks(counts, labels=[str(steps) for steps in counts])
    axes.minorticks_off()
    axes.legend()
    return figure


def _heat_map(rows: Sequence[tuple[Row, Results]]) -> Figure | None:
    blocks, steps, values = _heat(rows)
    if np.isnan(values).all():
        return None
    figure = Figure(figsize=(4.5, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="block")
    picture = axes.imshow(values, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(steps)), [str(step) for step in steps])
    axes.set_yticks(range(len(blocks)), [str(block) for block in blocks])
    figure.colorbar(picture, label="mIoU")
    return figure


_FIGURES: dict[str, Callable[[Sequence[tuple[Row, Results]]], Figure | None]] = {
    "methods": _bars,
    "mixtures": _bars,
    "filters": _bars,
    "solvers": _curves,
    "amounts": _bars,
    "features": _heat_map,
}

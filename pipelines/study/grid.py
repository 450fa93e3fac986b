"""The grid of a study: which cells there are, and in which rows of the page they stand."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.errors import RecipeError
from pipelines.recipe import Recipe

Kind = Literal["interpreter", "pixels", "untrained", "synthetic", "supervised", "mixed", "tuned"]
Images = Literal["synthetic", "photographs", "annotated"]  # what a mixed training learns from
STRONG = "strong_mirrored"  # of the few annotated images, alone and in a mixture
Changes = dict[str, dict[str, Any]]  # section -> key -> value


def named(changes: Changes) -> str:
    """All of them in a name for a file: "solver=ddim-steps=20"; "" where nothing is changed."""
    name = "-".join(f"{key}={value}" for keys in changes.values() for key, value in keys.items())
    return "".join(c if c.isalnum() or c in "-=._+" else "_" for c in name)


@dataclass(frozen=True)
class Cell:
    """One measurement: what is measured, the recipe's keys that it changes, and its seed."""

    kind: Kind
    seed: int
    changes: Changes = field(default_factory=dict)
    images: tuple[Images, ...] = ()  # of a mixed training; others say it by their kind

    @property
    def name(self) -> str:
        return "-".join(filter(None, [self.kind, "+".join(self.images), named(self.changes), f"seed{self.seed}"]))


@dataclass(frozen=True)
class Row:
    """A line of a table: the same measurement with every seed and, where it has a dataset, every run seed."""

    part: str
    label: str
    cells: tuple[Cell, ...]


def grid(recipe: Recipe) -> list[Row]:
    """All rows of the parts that the recipe asks for, in the order of the page.

    Raises RecipeError for a recipe without held-out images, on which all of them are measured.
    """
    if recipe.paths.held_out is None:
        raise RecipeError("paths.held_out is missing; it names the annotated images to measure on")
    parts = {
        "methods": _methods,
        "mixtures": _mixtures,
        "filters": _filters,
        "solvers": _solvers,
        "amounts": _amounts,
        "features": _features,
    }
    return [row for part in recipe.study.parts for row in parts[part](recipe)]


def _row(
    recipe: Recipe, part: str, label: str, kind: Kind, images: tuple[Images, ...] = (), **changes: dict[str, Any]
) -> Row:
    """With every seed; of a row that paints images, with every run seed."""
    is_painted = kind == "synthetic" or "synthetic" in images
    run_seeds = recipe.study.datasets if is_painted else [recipe.generate.run_seed]
    return Row(
        part,
        label,
        tuple(
            Cell(kind, seed, _with_run_seed(recipe, changes, run_seed), images)
            for seed in recipe.study.seeds
            for run_seed in run_seeds
        ),
    )


def _with_run_seed(recipe: Recipe, changes: Changes, run_seed: int) -> Changes:
    """The recipe's own is no change, so that a measurement of it has one name in all tables."""
    if run_seed == recipe.generate.run_seed:
        return changes
    return changes | {"generate": {**changes.get("generate", {}), "run_seed": run_seed}}


def _solver(recipe: Recipe) -> dict[str, Any]:
    """The recipe's own, written as a change, so that a measurement of it has one name in all tables."""
    return {"solver": recipe.generate.solver, "steps": recipe.generate.steps}


def _methods(recipe: Recipe) -> Iterator[Row]:
    yield _row(recipe, "methods", "DDPM-Seg: the interpreter on the images themselves", "interpreter")
    dataset = _solver(recipe)
    yield _row(recipe, "methods", "DatasetDDPM: DeepLab on synthetic images", "synthetic", generate=dataset)
    yield _row(recipe, "methods", "DeepLab on the annotated images alone", "supervised")
    strong = {"augmentation": STRONG}
    yield _row(recipe, "methods", "the same, strong augmentation", "supervised", train=strong)
    yield _row(recipe, "methods", "interpreter on raw pixels: 7x7 colours and position", "pixels")
    yield _row(recipe, "methods", "interpreter on an untrained UNet", "untrained")


def _mixtures(recipe: Recipe) -> Iterator[Row]:
    """What a network learns from, each with and without the annotated few, all at the same scale and steps."""
    dataset = _solver(recipe)
    yield _row(recipe, "mixtures", "annotated", "supervised")
    yield _row(recipe, "mixtures", "annotated, strong augmentation", "supervised", train={"augmentation": STRONG})
    yield _row(recipe, "mixtures", "synthetic", "synthetic", generate=dataset)
    mixtures: list[tuple[Images, ...]] = [("synthetic", "annotated")]
    has_photographs = recipe.paths.photographs or recipe.paths.unlabelled
    if has_photographs:
        mixtures += [
            ("photographs",),
            ("photographs", "annotated"),
            ("synthetic", "photographs"),
            ("synthetic", "photographs", "annotated"),
        ]
    for images in mixtures:
        yield _row(recipe, "mixtures", " + ".join(images), "mixed", images, generate=dataset)
    if has_photographs:
        yield _row(recipe, "mixtures", "photographs, then annotated", "tuned", ("photographs",), generate=dataset)


def _filters(recipe: Recipe) -> Iterator[Row]:
    """Which labels are believed: all rows are of the same candidates.

    They are painted once, and once more for the recipe's own filter, whose dataset other tables show as well.
    """
    candidates = _solver(recipe) | {"keep_all": True, "uncertainty_maps": True}
    usual = recipe.generate.filter, recipe.generate.portion
    yield _row(recipe, "filters", "all labels", "synthetic", generate=candidates | {"portion": 0.0})
    for name in recipe.study.filters:
        for portion in filter(None, recipe.study.portions):
            kept = candidates | {"filter": name, "portion": portion}
            dataset = _solver(recipe) if (name, portion) == usual else kept
            yield _row(recipe, "filters", f"{name}, {portion:g} dropped", "synthetic", generate=dataset)
    for nats in recipe.study.ignored:
        label, training = f"pixels above {nats:g} nats ignored", {"ignore_above": nats}
        yield _row(recipe, "filters", label, "synthetic", generate=candidates | {"portion": 0.0}, train=training)


def _solvers(recipe: Recipe) -> Iterator[Row]:
    for solver, counts in recipe.study.solvers.items():
        for steps in counts:
            dataset = {"solver": solver, "steps": steps}
            yield _row(recipe, "solvers", f"{solver}, {steps}", "synthetic", generate=dataset)


def _amounts(recipe: Recipe) -> Iterator[Row]:
    solver, own = _solver(recipe), f"candidates: {recipe.generate.samples}, annotated: all"
    yield _row(recipe, "amounts", own, "synthetic", generate=solver)
    for samples in recipe.study.samples:
        yield _row(recipe, "amounts", f"candidates: {samples}", "synthetic", generate=solver | {"samples": samples})
    for images in recipe.study.annotated:
        few = {"images": images}
        yield _row(recipe, "amounts", f"annotated: {images}", "synthetic", generate=solver, interpreter=few)


def _features(recipe: Recipe) -> Iterator[Row]:
    for block in recipe.study.feature_blocks:
        for step in recipe.study.feature_steps:
            single = {"steps": [step], "blocks": [block]}
            yield _row(recipe, "features", f"block {block}, step {step}", "interpreter", interpreter=single)

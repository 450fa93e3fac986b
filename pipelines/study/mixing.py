"""What a cell's network learns from: datasets of painted images and of photographs, and the annotated few."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.dataset.growing import settle
from pipelines.dataset.inventory import take_inventory
from pipelines.recipe import Recipe
from pipelines.sections.train import MixedSource
from pipelines.study.grid import STRONG, Images
from pipelines.units.builder import build, planned

_PHOTOGRAPHED = "photographed"  # the folder of labelled photographs in a cell's folder


def mixture(images: Sequence[Images], out: Path) -> list[MixedSource]:
    """The sources of a mixed training, in equal shares; the annotated few are changed strongly, and are a quarter."""
    sources = {"synthetic": "synthetic", "photographs": str(out / _PHOTOGRAPHED)}
    others = len(set(images) - {"annotated"})
    return [
        MixedSource(source="annotated", share=others, augmentation=STRONG)
        if name == "annotated"
        else MixedSource(source=sources[name], share=3)
        for name in images
    ]


def make_sources(recipe: Recipe, images: Sequence[Images]) -> None:
    """The datasets that a mixture takes from, as many photographs as there are painted candidates."""
    if "synthetic" in images:
        make_dataset(recipe)
    if "photographs" in images:
        most = recipe.generate.source.photographs or recipe.generate.samples
        photographs = recipe.generate.changed(images="photographs", photographs=most)
        make_dataset(recipe.model_copy(update={"generate": photographs}))


def make_dataset(recipe: Recipe) -> None:
    """Make the units of a dataset that are missing, in this process, and filter anew what was filtered otherwise."""
    plan = planned(recipe)
    settle(take_inventory(plan.folder), plan.dataset)
    todo = take_inventory(plan.folder).missing(plan.recipe.generate.units)
    if todo:
        make = build(plan)
        for unit in todo:
            make(unit)

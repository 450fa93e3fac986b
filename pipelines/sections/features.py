"""[features] of a recipe: what `datasetddpm features` compares."""

# ruff: noqa: RUF012 - pydantic copies what is mutable of a model's defaults

from typing import Annotated

from pydantic import Field

from pipelines.sections.keys import Natural, Naturals, Section


class FeaturesSection(Section):
    """`datasetddpm features`: the maps that are compared, by interpreters that are fitted on some annotated images."""

    steps: Naturals = [50, 150, 250, 500]
    """Diffusion steps that are tried, beside those of interpreter.steps."""
    blocks: Naturals | None = None
    """Decoder blocks that are tried, beside those of interpreter.blocks; unset: all."""
    layers: Naturals | None = None
    """Layers that are tried of another source than the denoiser, beside those that the recipe reads; unset: those."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Parts of the annotated images; each is labelled by interpreters that were fitted on the others."""
    members: Annotated[int, Field(ge=2)] = 3
    """Classifiers of each of these interpreters."""
    joins: Natural = 4
    """The most steps, blocks or layers that are joined to the best map, one after another while the score rises."""

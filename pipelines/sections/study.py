"""[study] of a recipe: what is measured."""

# ruff: noqa: RUF012 - pydantic copies what is mutable of a model's defaults

from typing import Annotated, Literal

from pydantic import Field

from generate.settings import Solver
from label import Filter
from pipelines.sections.keys import Count, Natural, Section, Seeds, Share

StudyPart = Literal["methods", "mixtures", "filters", "solvers", "amounts", "features"]


class StudySection(Section):
    """`datasetddpm study`: what is measured. Each cell is measured with every seed."""

    seeds: Seeds = [0, 1, 2]
    """Seeds of the trainings."""
    datasets: Seeds = [0, 1]
    """Run seeds: each row of painted images is measured on as many datasets, with every seed."""
    parts: list[StudyPart] = ["methods", "mixtures", "filters", "solvers", "amounts", "features"]
    """Tables of the page."""
    filters: list[Filter] = ["most_certain", "balanced", "class_wise"]
    """Kinds of filter that are measured, each with every portion above 0."""
    ignored: list[Annotated[float, Field(ge=0)]] = [0.1, 0.3]
    """Uncertainties, in nats, above which a pixel is ignored, nothing being dropped."""
    solvers: dict[Solver, list[Count]] = {"ddim": [5, 10, 20, 50], "dpmsolver++": [5, 10, 20, 50], "ddpm": [250, 1000]}
    """Numbers of steps that are measured of each solver."""
    portions: list[Share] = [0.0, 0.1, 0.25, 0.5]
    """Shares that the filter drops."""
    samples: list[Count] = [250, 500, 1000, 2000, 4000, 8000]
    """Numbers of candidates."""
    annotated: list[Count] = [5, 10, 20]
    """Numbers of annotated images."""
    feature_steps: list[Natural] = [50, 150, 250, 500]
    """Diffusion steps, each of which is read alone, with each of feature_blocks."""
    feature_blocks: list[Natural] = [1, 2, 3, 4, 5, 6, 7]
    """Decoder blocks, each of which is read alone."""

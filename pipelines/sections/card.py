"""[card] of a recipe: what only its owner can say of a dataset that is given away."""

# ruff: noqa: RUF012 - pydantic copies what is mutable of a model's defaults

from pipelines.sections.keys import Section


class CardSection(Section):
    """`datasetddpm card`: what stands on the page that a dataset is given away with."""

    license: str | None = None
    """The licence that it is given away under, as cc-by-4.0; unset: there is no card, since none is guessed."""
    license_link: str | None = None
    """Where the text of the licence is, for one that the Hub has no name for."""
    authors: list[str] = []
    """Who gives it away."""
    origin: str | None = None
    """What the diffusion model was trained on, and under which licences, in a sentence or two."""

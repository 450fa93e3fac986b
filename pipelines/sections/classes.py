"""[classes] of a recipe: of annotated images whose folder has no scheme."""

from typing import Annotated

from pydantic import Field, model_validator

from label import IGNORE, Scheme
from pipelines.sections.keys import Section


class ClassesSection(Section):
    """The classes of paths.annotated and paths.held_out, for folders that have no scheme.toml."""

    names: list[str]
    """Names of the classes, in the order of their ids."""
    ignore: Annotated[int, Field(ge=0, le=IGNORE)] = IGNORE
    """The mask value of pixels without a class."""

    @property
    def scheme(self) -> Scheme:
        return Scheme(tuple(self.names))

    @model_validator(mode="after")
    def _make_a_scheme(self) -> "ClassesSection":
        _ = self.scheme
        return self

"""The section of a recipe that says how paths.painter paints."""

# ruff: noqa: RUF012 - pydantic copies what is mutable of a model's defaults

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from generate.consistency_files import consistency_flags, must_ascend
from generate.guided_flags import parse_flags
from pipelines.keys import Natural, Section

PainterKind = Literal["denoiser", "consistency", "edm"]
_KEYS: dict[PainterKind, set[str]] = {"denoiser": set(), "consistency": {"ts", "levels"}, "edm": set()}
UNUSED: dict[PainterKind, set[str]] = {"denoiser": set(), "consistency": {"solver", "steps"}, "edm": {"solver"}}
"""Keys of [generate] that an image does not depend on."""


class PainterSection(Section):
    """How paths.painter is opened, and how it paints; without paths.painter it says nothing."""

    kind: PainterKind = "denoiser"
    """What it is: another denoiser, a consistency model of one or a few steps, or an edm_*.pt for Heun's method."""
    flags: str | dict[str, Any] | None = None
    """The flags of a .pt: its command line, a table, or the name of a preset."""
    ts: Annotated[list[Natural], Field(min_length=1)] = [0]
    """Noise levels at which a consistency model is asked, a call each: from 0, the most noise, on; [0, 17] are two."""
    levels: Annotated[int, Field(ge=2, le=1000)] = 40
    """How many noise levels there are that ts counts."""

    def said(self) -> dict[str, Any]:
        """What an image depends on beside the files and [generate]; flags belong to the files."""
        return self.model_dump(mode="json", include={"kind", *_KEYS[self.kind]})

    @model_validator(mode="after")
    def _can_be_asked(self) -> "PainterSection":
        must_ascend(self.ts, self.levels)
        if self.flags is not None:
            (parse_flags if self.kind == "denoiser" else consistency_flags)(self.flags)
        return self

"""[painter] of a recipe: how paths.painter paints."""

# ruff: noqa: RUF012 - pydantic copies what is mutable of a model's defaults

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from generate.consistency_files import consistency_flags, must_ascend
from generate.guided_flags import parse_flags
from generate.prompts import Prompts
from pipelines.sections.keys import Naturals, Section

PainterKind = Literal["denoiser", "latent", "consistency", "edm"]
_WORDS = {"prompts", "choices", "guidance", "negative_prompt"}
_KEYS: dict[PainterKind, set[str]] = {
    "denoiser": set(),
    "latent": _WORDS,
    "consistency": {"ts", "levels"},
    "edm": set(),
}
UNUSED: dict[PainterKind, set[str]] = {
    "denoiser": set(),
    "latent": set(),
    "consistency": {"solver", "steps"},
    "edm": {"solver"},
}
"""Keys of [generate] that an image does not depend on."""


class PainterSection(Section):
    """How paths.painter, which it needs, is opened, and how it paints."""

    kind: PainterKind = "denoiser"
    """What it is: another denoiser, a latent diffusion model such as Stable Diffusion, a consistency model of one or a
    few steps, or an edm_*.pt for Heun's method."""
    flags: str | dict[str, Any] | None = None
    """The flags of a .pt: its command line, a table, or the name of a preset."""
    ts: Naturals = [0]
    """Noise levels at which a consistency model is asked, a call each: from 0, the most noise, on; [0, 17] are two."""
    levels: Annotated[int, Field(ge=2, le=1000)] = 40
    """How many noise levels there are that ts counts."""

    prompts: list[str] = []
    """What a latent diffusion model is told, each seed one of them; {NAME} in a prompt is one of choices.NAME."""
    choices: dict[str, list[str]] = {}
    """What names in braces stand for, drawn for each seed: a table of lists of texts."""
    guidance: Annotated[float, Field(ge=0, le=1000)] = 7.5
    """How far an image is led towards its prompt; 1 or less is not at all, and half the work."""
    negative_prompt: str = ""
    """What images are led away from."""

    def made_with(self) -> dict[str, Any]:
        """What an image depends on beside the files and [generate]; flags belong to the files."""
        keys = _KEYS[self.kind] if self.kind != "latent" or self.prompts else set()  # others paint without words
        return self.model_dump(mode="json", include={"kind", *keys})

    @model_validator(mode="after")
    def _can_be_asked(self) -> "PainterSection":
        must_ascend(self.ts, self.levels)
        given = self.model_fields_set & _WORDS
        if given and self.kind != "latent":
            raise ValueError(f'{min(given)} is for latent diffusion models; add kind = "latent", or leave it out')
        if given & {"prompts", "choices"}:
            _ = Prompts(self.prompts, self.choices)
        if self.flags is not None and self.kind == "latent":
            raise ValueError("flags belong to a .pt; a latent diffusion model is opened by its own configuration")
        if self.flags is not None:
            (parse_flags if self.kind == "denoiser" else consistency_flags)(self.flags)
        return self

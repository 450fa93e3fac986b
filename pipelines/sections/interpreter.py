"""[interpreter] of a recipe: how an image is read, and how its reader is fitted."""

# ruff: noqa: RUF012 - pydantic copies what is mutable of a model's defaults

import difflib
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from label import FITTINGS, Fitting, Setting, Upsampling
from label.source_kinds import DENOISER, KINDS, is_kind
from pipelines.sections.keys import Count, Keys, Naturals, Section


def known_kind(name: str) -> str:
    """The name of a feature source. Raises ValueError, with the known ones, for any other."""
    if not is_kind(name):
        near = difflib.get_close_matches(name, KINDS, n=1)
        hint = f"is {near[0]} meant? " if near else ""
        raise ValueError(f"{name!r} is no feature source; {hint}known are {', '.join(KINDS)}")
    return name


Kind = Annotated[str, AfterValidator(known_kind)]


class InterpreterSection(Section):
    """`datasetddpm fit`: the features of a pixel, and the ensemble that is trained on them."""

    features: Kind | Annotated[list[Kind], Field(min_length=1)] = DENOISER
    """What an image is read by: denoiser, swav, swav_w2, mae, timm:NAME, or a list of these, side by side."""
    steps: Naturals = [50, 150, 250]
    """Diffusion steps at which the denoiser reads an image."""
    blocks: Naturals = [5, 6, 7, 8, 12]
    """Decoder blocks of the denoiser that are read, counted from 0 at the lowest resolution."""
    where: Literal["output", "input"] = "output"
    """The side of a block that is read."""
    noises: Count = 1
    """Noises with each of which the denoiser reads an image; features are their mean."""
    mirrored: bool = False
    """Whether the mirrored image is read as well; features are the mean of both."""
    layers: dict[Kind, Naturals] = {}
    """Layers that are read of other sources, from 0, as `layers.mae = [17, 23]`; unset: the published ones, or all."""
    image_size: Count | Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None
    """The size, or height and width, at which images are read without the denoiser; unset: that of its images."""
    mae_heads: Count | None = None
    """Attention heads of a MAE of a width in which none was published; its file does not say them."""
    upsampling: Upsampling = "bilinear"
    """How features come to the size of the image."""
    setting: Setting = "published"
    """Defaults of the keys below; fast: few large, balanced batches of standardised features, at a falling rate."""
    fitting: Annotated[Fitting, Keys(but={"schedule", "draw", "standardise", "memory_budget"})] = Fitting()
    images: Count | None = None
    """Only the first so many of paths.annotated, by name; unset: all."""

    @property
    def sources(self) -> list[str]:
        """The kinds of what is read."""
        return [self.features] if isinstance(self.features, str) else self.features

    @property
    def reads_denoiser(self) -> bool:
        """Whether the denoiser is needed to read an image, or to know the size of images."""
        return DENOISER in self.sources or self.image_size is None

    def made_with(self) -> dict[str, Any]:
        """As JSON, all that an interpreter depends on: keys of sources that are not read are left out."""
        keys = {"image_size"} if DENOISER in self.sources else {"steps", "blocks", "where"}
        if self.sources == [DENOISER]:
            keys |= {"layers", "mae_heads"}
        unless_set = ("features", "noises", "mirrored", "layers", "image_size", "mae_heads")
        keys |= {key for key in unless_set if getattr(self, key) == type(self).model_fields[key].default}
        return self.model_dump(mode="json", exclude=keys)

    @model_validator(mode="before")
    @classmethod
    def _setting_fills_what_is_not_given(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("setting") not in tuple(FITTINGS):
            return given
        return {"fitting": asdict(FITTINGS[given["setting"]]), **given}

    @model_validator(mode="after")
    def _keys_are_of_what_is_read(self) -> "InterpreterSection":
        if len(set(self.sources)) < len(self.sources):
            raise ValueError(f"features {self.sources}: each source can be there once")
        reads = DENOISER in self.sources
        if DENOISER in self.layers:
            raise ValueError("layers are of other sources; the denoiser's are steps and blocks")
        if not reads and self.noises > 1:
            raise ValueError(f"noises = {self.noises} needs the denoiser, which features does not name; leave it out")
        return self

"""[denoiser] of a recipe: how paths.denoiser is opened."""

from typing import Any, Literal

from pydantic import model_validator

from generate.guided_flags import parse_flags
from generate.settings import CompileMode
from pipelines.sections.keys import Section


class DenoiserSection(Section):
    """How paths.denoiser is opened."""

    flags: str | dict[str, Any] | None = None
    """The flags of a guided-diffusion .pt: its command line, a table, or the name of a preset."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The precision that the network computes in; a GPU is many times faster in one of the halves."""
    compile: CompileMode | None = None
    """The mode of torch.compile to sample in, which needs a C compiler where actors run; unset: not compiled."""

    prompt: str = ""
    """What a latent diffusion model is told while it reads an image."""

    @model_validator(mode="after")
    def _flags_are_known(self) -> "DenoiserSection":
        if self.flags is not None:
            parse_flags(self.flags)
        return self

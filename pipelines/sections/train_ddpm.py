"""[train_ddpm] of a recipe: which network is trained, from which weights, and how."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from generate import settings as ddpm
from generate.guided_flags import parse_flags
from pipelines.sections.keys import Count, Keys, Section

_OF_THE_NETWORK = {"prediction", "noise_schedule", *(field.name for field in fields(ddpm.Network))}
_NOT_OF_THE_RESULT = {"init", "init_flags", "workers", "compared"}
_LATER = {"preset", "weighting", "min_snr_gamma", "timesteps", "crop", "accumulate", "precision"}


class TrainDDPMSection(Section):
    """`datasetddpm train-ddpm`: a diffusion model from paths.unlabelled."""

    network: Annotated[ddpm.Network, Keys()] = ddpm.Network()
    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"
    """What the network is trained to predict: the noise, or the velocity."""
    noise_schedule: Literal["linear", "cosine"] = "cosine"
    """How the noise grows with the step."""
    init: Path | str | None = None
    """The model whose weights are trained on, as paths.denoiser may be; it says network, prediction and schedule."""
    init_flags: str | dict[str, Any] | None = None
    """The flags of a guided-diffusion .pt in train_ddpm.init, as denoiser.flags are those of paths.denoiser."""
    preset: ddpm.Preset | None = None
    """A published network (arXiv 2105.05233) with its schedule and learned variance, in place of the keys above."""
    training: Annotated[ddpm.Training, Keys()] = ddpm.Training()
    workers: Count = 1
    """Processes that share every update; more than one run on Ray, fewer where the cluster has no room."""
    compared: Annotated[int, Field(ge=4)] | None = None
    """Samples that are compared with as many training images at each sheet: precision and recall; unset: none."""

    _given: frozenset[str] = PrivateAttr(frozenset())

    @property
    def given_of_network(self) -> dict[str, Any]:
        """The keys that the recipe itself gives of what init or preset say."""
        every = self.model_dump()
        return {key: every[key] for key in every if key in self._given & _OF_THE_NETWORK}

    def made_with(self) -> dict[str, Any]:
        """All of it that a model depends on, beside the weights it begins with; what has come later only where set."""
        left_out = _NOT_OF_THE_RESULT | (_OF_THE_NETWORK if self.init or self.preset else set())
        usual = type(self)().model_dump(mode="json")
        every = self.model_dump(mode="json")
        return {
            key: value
            for key, value in every.items()
            if key not in left_out and not (key in _LATER and value == usual[key])
        }

    @model_validator(mode="wrap")
    @classmethod
    def _remember_what_is_given(cls, given: Any, handler: ModelWrapValidatorHandler["TrainDDPMSection"]) -> Any:
        section = handler(given)
        if isinstance(given, Mapping):
            tables = (set(value) for value in given.values() if isinstance(value, Mapping))
            section._given = frozenset(given).union(*tables)
        return section

    @model_validator(mode="after")
    def _begins_in_one_way(self) -> "TrainDDPMSection":
        if self.init and self.preset:
            raise ValueError("init and preset both say which network is trained; give one of them")
        if self.init_flags is not None:
            if self.init is None:
                raise ValueError("init_flags are those of a .pt in init, which is missing")
            parse_flags(self.init_flags)
        if self.workers > self.training.batch_size:
            raise ValueError(f"batch_size {self.training.batch_size} leaves some of {self.workers} workers without one")
        return self

"""The image source that paints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from generate.denoiser import Denoiser
from generate.image_source import json_digest
from generate.sampler import sample
from generate.settings import Solver, Spacing


@dataclass(frozen=True)
class DenoiserImages:
    """Images that a denoiser paints from noise, by a solver."""

    denoiser: Denoiser
    solver: Solver = "dpmsolver++"
    steps: int = 20
    spacing: Spacing = "even"

    @property
    def _how(self) -> dict[str, Any]:
        """What `sample` is told; even steps, as they always were, are not said."""
        spaced = {} if self.spacing == "even" else {"spacing": self.spacing}
        return {"solver": self.solver, "steps": self.steps} | spaced

    @property
    def digest(self) -> str:
        return json_digest(["denoiser", self.denoiser.digest, *self._how.values()])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.denoiser.image_shape

    @property
    def count(self) -> None:
        return None

    def images(self, seeds: Sequence[int], run_seed: int, batch_size: int) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """As `sample`. Raises ValueError for no steps, or more than the schedule has."""
        return sample(self.denoiser, seeds, run_seed=run_seed, batch_size=batch_size, **self._how)

    def provenance(self, seed: int) -> dict[str, Any]:
        return self._how

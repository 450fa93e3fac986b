"""The image sources that paint in a few steps."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from generate.consistency import ConsistencyModel, EdmModel
from generate.image_source import json_digest
from generate.painting import painted


@dataclass(frozen=True)
class ConsistencyImages:
    """Images that a consistency model paints, asked once at each of `ts` of so many noise levels."""

    model: ConsistencyModel
    ts: tuple[int, ...] = (0,)
    levels: int = 40

    @property
    def digest(self) -> str:
        return json_digest(["consistency", self.model.digest, list(self.ts), self.levels])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.model.image_shape

    @property
    def count(self) -> None:
        return None

    def images(self, seeds: Sequence[int], run_seed: int, batch_size: int) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """Noise, and what each step adds, come from (run_seed, seed) alone; last bits depend on batch_size too."""

        def steps_of(noise: Tensor, step_noise: Iterable[Tensor]) -> Iterator[Tensor]:
            return self.model.trajectory(noise, ts=self.ts, steps=self.levels, step_noise=step_noise)

        return painted(steps_of, self.image_shape, self.model.device, seeds, run_seed=run_seed, batch_size=batch_size)

    def provenance(self, seed: int) -> dict[str, Any]:
        return {"painter": "consistency", "ts": list(self.ts), "levels": self.levels}


@dataclass(frozen=True)
class EdmImages:
    """Images that EDM's denoiser paints by Heun's method."""

    model: EdmModel
    steps: int = 20

    @property
    def digest(self) -> str:
        return json_digest(["edm", self.model.digest, self.steps])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.model.image_shape

    @property
    def count(self) -> None:
        return None

    def images(self, seeds: Sequence[int], run_seed: int, batch_size: int) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """Noise comes from (run_seed, seed) alone; last bits depend on batch_size too."""

        def steps_of(noise: Tensor, _: Iterable[Tensor]) -> Iterator[Tensor]:
            return self.model.trajectory(noise, steps=self.steps)

        return painted(steps_of, self.image_shape, self.model.device, seeds, run_seed=run_seed, batch_size=batch_size)

    def provenance(self, seed: int) -> dict[str, Any]:
        return {"painter": "edm", "solver": "heun", "steps": self.steps}

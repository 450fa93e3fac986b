"""What a recipe may set of this room. Needs no torch."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Upsampling = Literal["bilinear", "nearest"]
"""How maps come to the size of the image; both as torch's F.interpolate does it, without aligned corners."""

Fit = Literal["stretch", "pad", "tile"]
"""How an image of another size than the interpreter's is seen."""

Filter = Literal["most_certain", "balanced", "class_wise", "published"]
PUBLISHED_FILTER_SKIPS = 30
"""The published filter loses so many of the most certain images."""

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Fitting:
    """How an ensemble is trained on annotated pixels; the defaults are the published ones."""

    members: Annotated[int, Field(ge=2, le=10_000)] = 10
    """Classifiers of the ensemble, each trained in an order of its own."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Pixels of a batch, of each member."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of Adam; the highest, where it changes."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate changes; cosine: it rises for a tenth of the batches, then falls to 0."""
    draw: Literal["uniform", "balanced"] = "uniform"
    """How pixels are drawn; balanced: a class by (its share of the pixels) ** 0.5."""
    standardise: bool = False
    """Whether features have mean 0 and deviation 1 in training; the trained weights take plain features again."""
    max_epochs: Count = 100
    """Passes over all annotated pixels, unless a member stops before."""
    max_batches: Count | None = None
    """The most batches, where max_epochs make more; unset: as many as they make."""
    patience: Count = 50
    """Batches without a new lowest loss after which a member stops, from the fifth epoch on."""
    min_class_pixels: Annotated[int, Field(ge=0)] = 20
    """Pixels that a class needs in an image, or it is ignored there."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The seed of the members' weights and orders."""
    memory_budget: int = 2_000_000_000
    """Bytes of maps that are kept in memory; more are mapped from a file."""

    def batches(self, pixels: int) -> int:
        """How many there are, from so many annotated pixels, if no member stops early."""
        epochs = self.max_epochs * (pixels // min(self.batch_size, pixels))
        return min(epochs, self.max_batches or epochs)

    def rate(self, batch: int, batches: int) -> float:
        """The learning rate of a batch, counted from 0."""
        if self.schedule == "constant":
            return self.learning_rate
        warmup = max(1, batches // 10)
        falling = 0.5 * (1 + math.cos(math.pi * max(0, batch - warmup) / max(1, batches - warmup)))
        return self.learning_rate * min((batch + 1) / warmup, falling)


Setting = Literal["published", "fast"]
FITTINGS: dict[Setting, Fitting] = {
    "published": Fitting(),
    "fast": Fitting(
        batch_size=256, learning_rate=1e-2, schedule="cosine", draw="balanced", standardise=True, max_batches=165
    ),
}

"""What a recipe may set of this room."""

import math
from dataclasses import dataclass
from typing import Literal

Upsampling = Literal["bilinear", "nearest"]
"""How maps come to the size of the image; both as torch's F.interpolate does it, without aligned corners."""

Fit = Literal["stretch", "pad", "tile"]
"""How an image of another size than the interpreter's is seen."""

Filter = Literal["most_certain", "published"]
PUBLISHED_FILTER_SKIPS = 30
"""Of the most certain images, as many are lost by the published filter."""


@dataclass(frozen=True)
class Fitting:
    """Settings; the defaults are the published ones."""

    members: int = 10
    batch_size: int = 64  # pixels a member
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"  # cosine: rises for a tenth of the batches, then falls to 0
    draw: Literal["uniform", "balanced"] = "uniform"  # balanced: a class by (its share of the pixels) ** 0.5
    standardise: bool = False  # features to mean 0 and deviation 1; the trained weights take plain features again
    max_epochs: int = 100
    max_batches: int | None = None  # fewer than max_epochs make; None: no fewer
    patience: int = 50  # batches
    min_class_pixels: int = 20  # a class with fewer in an image is ignored there
    seed: int = 0
    memory_budget: int = 2_000_000_000  # bytes of maps; more are mapped from a file

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

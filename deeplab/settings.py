"""What a recipe may set of this room, by name."""

from typing import Literal

Augmentation = Literal["none", "strong", "strong_mirrored"]
Loss = Literal["cross_entropy", "cross_entropy+dice", "cross_entropy+focal"]
Precision = Literal["auto", "float32", "bfloat16"]

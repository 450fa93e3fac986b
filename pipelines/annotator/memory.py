"""What is known of each image while the page is open: its maps, its annotated pixels, its doubt."""

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from label import FeatureSource
from pipelines.annotator.ensemble import Maps, Pixels
from pipelines.annotator.folder import AnnotatedFolder
from pipelines.annotator.order import pooled

BUDGET = 1_500_000_000  # bytes of maps; those of images that were looked at longest ago go first


@dataclass
class Memory:
    """Maps are kept in half precision, within a budget; all else is small and stays."""

    folder: AnnotatedFolder
    features: FeatureSource
    budget: int = BUDGET
    maps: "OrderedDict[str, Maps]" = field(default_factory=OrderedDict)
    learnt: dict[str, Pixels] = field(default_factory=dict)  # what an ensemble is fitted on
    drawn: dict[str, Pixels] = field(default_factory=dict)  # what it is judged by
    pooled: dict[str, Float[np.ndarray, " channels"]] = field(default_factory=dict)
    doubt: dict[str, float] = field(default_factory=dict)  # nats, by the ensemble of that time
    refused: dict[str, str] = field(default_factory=dict)  # images that no maps can be made of, and why

    @torch.no_grad()
    def maps_of(self, name: str) -> Maps:
        """Its maps, computed unless they are in memory. Raises ImageError for a file that is damaged."""
        if name not in self.maps:
            made = self.features.maps(at_size(self.folder.image(name), self.features.image_size)[None])
            self.maps[name] = [m.half().cpu() for m in made]
            self.pooled[name] = pooled(made)
            self._forget()
        self.maps.move_to_end(name)
        return self.maps[name]

    def _forget(self) -> None:
        sizes = {name: sum(m.nbytes for m in maps) for name, maps in self.maps.items()}
        while len(self.maps) > 1 and sum(sizes.values()) > self.budget:
            name, _ = self.maps.popitem(last=False)
            del sizes[name]


def at_size(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As annotated images are read: bilinearly with antialiasing. Raises ValueError for other proportions."""
    if image.shape[0] * size[1] != image.shape[1] * size[0]:
        raise ValueError(
            f"it is {image.shape[1]}x{image.shape[0]}, the model's images are {size[1]}x{size[0]}; cut it to their "
            "proportions"
        )
    if image.shape[:2] == size:
        return image.copy()  # Pillow lends its memory read-only
    return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def cut_to(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of an image, at the model's proportions and size."""
    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    tall, wide = round(size[0] * scale), round(size[1] * scale)
    top, left = (height - tall) // 2, (width - wide) // 2
    middle = Image.fromarray(image[top : top + tall, left : left + wide])
    return np.asarray(middle.resize((size[1], size[0]), Image.Resampling.BILINEAR))

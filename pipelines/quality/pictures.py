"""The pictures of findings: two images side by side. They are read when all that is to be shown is known."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.dataset.shards import png_bytes
from pipelines.files.storage import write_whole
from pipelines.quality.findings import Pair
from pipelines.quality.image_sets import ImageSet, Picture

GAP = 2  # pixels between the two


class Album:
    """Pairs that were asked for, until their pictures are written."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[tuple[ImageSet, int], tuple[ImageSet, int]]] = {}

    def pair(
        self,
        finding: str,
        left: ImageSet,
        left_place: int,
        right: ImageSet,
        right_place: int,
        nearness: float | None = None,
    ) -> Pair:
        """Two images of which `write` makes a picture, named by the finding and a number."""
        number = sum(name.startswith(f"{finding}-") for name in self._asked)
        name = f"{finding}-{number}.png"
        self._asked[name] = (left, left_place), (right, right_place)
        captions = left.labels[left_place], right.labels[right_place]
        return Pair(*captions, name, None if nearness is None else round(nearness, 6))

    def write(self, folder: Path) -> None:
        """Write all pictures; of each set the images are read once, in their order."""
        wanted: dict[int, tuple[ImageSet, list[int]]] = {}
        for images, place in (side for sides in self._asked.values() for side in sides):
            wanted.setdefault(id(images), (images, []))[1].append(place)
        read = {key: images.at(places) for key, (images, places) in wanted.items()}
        for name, sides in self._asked.items():
            left, right = (read[id(images)][place] for images, place in sides)
            write_whole(folder / name, png_bytes(beside(left, right)))


def beside(left: Picture, right: Picture) -> Image.Image:
    """The two with a white gap between them."""
    gap = np.full((left.shape[0], GAP, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([left, gap, right], axis=1))

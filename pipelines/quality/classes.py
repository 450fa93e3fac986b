"""How much there is of each class: pixels, and images that hold it, against the annotated images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from label import Annotations
from pipelines.dataset.reports import Report
from pipelines.files.storage import Location
from pipelines.quality.findings import ClassShare, Pair
from pipelines.quality.image_sets import in_memory, samples_at
from pipelines.quality.pictures import Album
from pipelines.quality.rare_classes import ClassImages, ClassPixels, holding, rare, shares


@dataclass(frozen=True)
class Counted:
    """Pixels of every class in every image, and where the kept ones lie."""

    candidates: Int[np.ndarray, "candidates classes"]
    kept: Int[np.ndarray, "kept classes"]
    rows: list[tuple[int, int]]  # unit and seed of the kept ones
    few: Annotations

    @classmethod
    def of(cls, reports: Sequence[Report], few: Annotations) -> "Counted":
        """At the size of the annotated images, as they are read."""
        every = [(report.unit, candidate) for report in reports for candidate in report.candidates]
        pixels = np.array([candidate.class_pixels for _, candidate in every])
        kept = np.array([candidate.kept for _, candidate in every])
        rows = [(unit, candidate.seed) for unit, candidate in every if candidate.kept]
        return cls(pixels, pixels[kept], rows, few)

    @property
    def pixels(self) -> ClassPixels:
        """Summed over images."""
        of_each = (self.kept, self.candidates, self.few.class_pixels)
        return ClassPixels(*(counts.sum(axis=0).tolist() for counts in of_each))

    @property
    def images(self) -> ClassImages:
        """That hold each class."""
        kept, annotated = (holding(counts, self.few.masks[0].size) for counts in (self.kept, self.few.class_pixels))
        return ClassImages(kept, annotated, len(self.kept), len(self.few.masks))

    @property
    def shares(self) -> list[ClassShare]:
        """All classes in their order."""
        pixels, images = self.pixels, self.images
        kept, annotated = (
            [count / of for count in counts]
            for counts, of in ((images.kept, images.of_kept), (images.annotated, images.of_annotated))
        )
        columns = [shares(pixels.kept), shares(pixels.annotated), kept, annotated]
        rows = np.round(np.array(columns).T, 6).tolist()
        return [ClassShare(name, *row) for name, row in zip(self.few.scheme.names, rows, strict=True)]

    @property
    def rare(self) -> dict[str, str]:
        """A sentence for each class of which there is too little."""
        return rare(self.few.scheme.names, self.pixels, self.images)

    def pictured(self, names: Sequence[str], folder: Location, album: Album) -> list[Pair]:
        """Of each of these classes the annotated image and the sample that hold most of it."""
        ids = [self.few.scheme.names.index(name) for name in names]
        best = {i: int(self.kept[:, i].argmax()) for i in ids}
        places = sorted(set(best.values()))
        samples = samples_at(folder, [self.rows[place] for place in places], len(self.rows))
        annotated = in_memory("annotated images", self.few.names, self.few.images, "")
        return [
            album.pair("rare", annotated, int(self.few.class_pixels[:, i].argmax()), samples, places.index(best[i]))
            for i in ids
        ]

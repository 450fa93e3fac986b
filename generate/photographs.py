"""Photographs as an image source: seed i is the i-th file of a folder. Needs no torch."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from generate.errors import ImageError
from generate.frames import FRAMES
from generate.image_source import json_digest
from generate.images import decoded_image
from generate.pictures import image_names
from generate.settings import PhotographFit

_READERS = 4  # threads that read and decode the next batch while the last one is labelled


@dataclass(frozen=True)
class Photograph:
    """A file as it was when it was first looked at."""

    path: str  # below the folder, with "/" between its parts
    sha256: str
    size: tuple[int, int]  # width and height, upright

    @classmethod
    def of(cls, folder: Path, path: str) -> "Photograph":
        """Read and decode the file. Raises ImageError where it cannot be read or is no image."""
        content = _content(folder / path)
        height, width, _ = decoded_image(content, folder / path).shape
        return cls(path, hashlib.sha256(content).hexdigest(), (width, height))

    def content(self, folder: Path) -> bytes:
        """The file's bytes. Raises ImageError where it has vanished, or is not what it was."""
        place = folder / self.path
        if not place.exists():
            raise ImageError(f"{place} has vanished since it was first listed; put it back, or begin another dataset")
        content = _content(place)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ImageError(
                f"{place} has changed since it was first listed: its sha256 is another; put back what it was, or begin "
                "another dataset"
            )
        return content


class FolderImages:
    """The image source that reads files: each is brought to one size, and what it was is checked as it is read."""

    def __init__(
        self, folder: Path, photographs: Sequence[Photograph], size: tuple[int, int], fit: PhotographFit = "stretch"
    ) -> None:
        """`size` is height and width; seed i is `photographs[i]`, which lies in `folder`."""
        self.folder, self.photographs, self.size = folder, photographs, size
        self.fit: PhotographFit = fit

    @classmethod
    def of(cls, folder: str | Path, size: tuple[int, int], fit: PhotographFit = "stretch") -> "FolderImages":
        """All images below a folder in sorted order. Raises ImageError where there are none, or one cannot be read."""
        place = Path(folder)
        return cls(place, [Photograph.of(place, path) for path in image_names(place)], size, fit)

    @property
    def digest(self) -> str:
        return json_digest(["photographs", self.size, self.fit, [asdict(each) for each in self.photographs]])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 3, *self.size

    @property
    def count(self) -> int:
        return len(self.photographs)

    def images(self, seeds: Sequence[int], run_seed: int, batch_size: int) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """Yield the photographs in the order of `seeds`; the run seed changes nothing.

        Raises ImageError for one that has changed or vanished.
        """
        batches = [seeds[start : start + batch_size] for start in range(0, len(seeds), batch_size)]
        ahead = list[Future[np.ndarray]]()
        with ThreadPoolExecutor(_READERS) as readers:
            for following in [*batches, []]:
                batch, ahead = ahead, [readers.submit(self._image, seed) for seed in following]
                if batch:
                    yield np.stack([image.result() for image in batch])

    def provenance(self, seed: int) -> dict[str, Any]:
        """Path, sha256 and size of the file, and how it came to the size of the others."""
        photograph = self.photographs[seed]
        return {
            "photograph": photograph.path,
            "sha256": photograph.sha256,
            "size": list(photograph.size),
            "fit": self.fit,
        }

    def _image(self, seed: int) -> np.ndarray:
        photograph = self.photographs[seed]
        image = decoded_image(photograph.content(self.folder), self.folder / photograph.path)
        return image if image.shape[:2] == self.size else FRAMES[self.fit](image, self.size)


def _content(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except OSError as error:
        raise ImageError(f"{place} cannot be read ({error.strerror or error})") from error

"""Where images come from: the protocol that all sources follow. Needs no torch."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8


class ImageSource(Protocol):
    """Seeds to images: an image is a function of (source, run seed, its seed)."""

    @property
    def digest(self) -> str:
        """Names all that an image depends on beside the seeds and the batch."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of every image."""
        ...

    @property
    def count(self) -> int | None:
        """How many images there are, seeds 0 to count - 1; None where there is no end."""
        ...

    def images(self, seeds: Sequence[int], run_seed: int, batch_size: int) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        """Yield the images in the order of `seeds`, batch_size at a time."""
        ...

    def provenance(self, seed: int) -> dict[str, Any]:
        """What a sample's JSON says of where its image comes from."""
        ...


def json_digest(record: Any) -> str:
    """sha256 of what JSON holds."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

"""Feature sources made of others: several side by side, and one that sees the mirrored image, too."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from label.errors import InterpreterError
from label.feature_records import FEATURES, joint_digest, mirrored_digest
from label.features import FeatureSource


class JointFeatures:
    """The maps of several sources side by side, those of each multiplied by its `scales`."""

    def __init__(self, sources: Sequence[FeatureSource], scales: Sequence[float] | None = None) -> None:
        """All sources take images of one size. Raises InterpreterError where they do not."""
        sizes = {source.image_size for source in sources}
        if len(sizes) != 1:
            raise InterpreterError(f"sources of one image size are needed; these take {sorted(sizes)}")
        self.sources, (self.image_size,) = tuple(sources), sizes
        self.scales = tuple(scales or [1.0] * len(self.sources))

    @classmethod
    def scaled(cls, sources: Sequence[FeatureSource], images: UInt8[np.ndarray, "n h w 3"]) -> "JointFeatures":
        """Scales that give the features of every source a mean deviation of 1 over these images."""
        return cls(sources, [1 / _spread(source.maps(images)) for source in sources])

    @property
    def channels(self) -> int:
        return sum(source.channels for source in self.sources)

    @property
    def digest(self) -> str:
        return joint_digest([source.digest for source in self.sources], self.scales)

    def maps(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The first source's maps, then the second's, and so on."""
        pairs = zip(self.sources, self.scales, strict=True)
        return [native * scale for source, scale in pairs for native in source.maps(images)]

    def save_pretrained(self, folder: Path) -> None:
        """Write each source into a folder of its own, and the scales into features.json."""
        for number, source in enumerate(self.sources):
            (folder / f"source-{number}").mkdir(parents=True, exist_ok=True)
            source.save_pretrained(folder / f"source-{number}")
        record = {"kind": "joint", "joint": self.scales}
        (folder / FEATURES).write_text(json.dumps(record, allow_nan=False) + "\n", encoding="utf-8")


class MirroredFeatures:
    """A source's maps, averaged with those of the mirrored image, mirrored back."""

    def __init__(self, source: FeatureSource) -> None:
        self.source = source

    @property
    def image_size(self) -> tuple[int, int]:
        return self.source.image_size

    @property
    def channels(self) -> int:
        return self.source.channels

    @property
    def digest(self) -> str:
        return mirrored_digest(self.source.digest)

    def maps(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Float[Tensor, "b _ _ _"]]:
        mirrored = self.source.maps(np.ascontiguousarray(images[:, :, ::-1]))
        return [(a + b.flip(-1)) / 2 for a, b in zip(self.source.maps(images), mirrored, strict=True)]

    def save_pretrained(self, folder: Path) -> None:
        (folder / "source-0").mkdir(parents=True, exist_ok=True)
        self.source.save_pretrained(folder / "source-0")
        (folder / FEATURES).write_text(json.dumps({"kind": "mirrored"}) + "\n", encoding="utf-8")


def single_sources(source: FeatureSource) -> Iterator[FeatureSource]:
    """The sources that read a network themselves, of one that joins or mirrors some."""
    inner: tuple[FeatureSource, ...] = ()
    if isinstance(source, JointFeatures):
        inner = source.sources
    elif isinstance(source, MirroredFeatures):
        inner = (source.source,)
    for each in inner:
        yield from single_sources(each)
    if not inner:
        yield source


def _spread(maps: Sequence[Tensor]) -> float:
    """Mean over all channels of their deviation over images and places."""
    deviations = torch.cat([native.transpose(0, 1).flatten(1).std(1) for native in maps])
    return float(deviations.mean().clamp_min(1e-12))

"""Samples of a dataset, to be looked at and corrected: the most uncertain first, and no shard is changed.

Their images are copied into a folder of annotated images. Their labels are what is suggested there; a mask is written
when somebody accepts or draws.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.annotator.folder import AnnotatedFolder
from pipelines.annotator.messages import Message, suggestion
from pipelines.dataset.damage import unindexed
from pipelines.dataset.index import candidates
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.shards import Sample, decode, kept_records, png_bytes
from pipelines.errors import DatasetError
from pipelines.files.storage import Location, write_whole


def most_uncertain(dataset: Location, count: int) -> list[Sample]:
    """So many of the samples that the filter kept. Raises DatasetError for a dataset without its index."""
    inventory = take_inventory(dataset)
    if clause := unindexed(inventory, open_dataset(dataset)):
        raise DatasetError(f"{dataset} is not finished: {clause}")
    index = candidates(inventory).select(["shard", "seed", "kept", "uncertainty"])
    rows = index.filter(index["kept"]).sort_by([("uncertainty", "descending")]).slice(0, count).to_pylist()
    seeds = {row["seed"] for row in rows}
    shards = [dataset / name for name in sorted({row["shard"] for row in rows})]
    samples = [decode(record) for record in kept_records(shards) if int(record["__key__"]) in seeds]
    return sorted(samples, key=lambda sample: (-sample.uncertainty, sample.seed))


def copied(samples: list[Sample], dataset: Location, folder: Path) -> AnnotatedFolder:
    """Their images in a folder of annotated images, which keeps what was corrected there before."""
    scheme = open_dataset(dataset).scheme
    if not (folder / "scheme.toml").exists():
        write_whole(folder / "scheme.toml", scheme.to_toml().encode())
    for sample in samples:
        if not (folder / image_name(sample)).exists():
            write_whole(folder / image_name(sample), png_bytes(Image.fromarray(sample.image)))
    return AnnotatedFolder(folder, scheme)


def image_name(sample: Sample) -> str:
    return f"{sample.seed:012d}.png"


class Reviewer:
    """In place of the interpreter that watches: it suggests the labels that the shards hold, and learns nothing."""

    def __init__(self, samples: list[Sample], classes: int, tell: Callable[[Message], None]) -> None:
        self._samples = {image_name(sample): sample for sample in samples}
        self._classes, self._tell, self._ended = classes, tell, threading.Event()

    def opened(self, name: str) -> None:
        if sample := self._samples.get(name):
            known = sample.pixel_uncertainty
            doubt = np.zeros(sample.mask.shape, np.float32) if known is None else known
            self._tell(suggestion(name, sample.mask, doubt, self._classes, seconds=0.0))

    def changed(self, name: str) -> None:
        """Nothing is learnt from it."""

    def renewed(self) -> None:
        """Nothing depends on the classes."""

    def ranking(self) -> list[tuple[str, float]]:
        return [(name, sample.uncertainty) for name, sample in self._samples.items()]

    def run(self) -> None:
        self._ended.wait()

    def ends_well(self) -> bool:
        self._ended.set()
        return True

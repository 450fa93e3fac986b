"""Datasets of given masks, for the tests of exports."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from making import begun, commit

from label import Scheme
from pipelines.dataset.reports import Candidate
from pipelines.dataset.shards import Sample
from pipelines.files.storage import Location

Place = TypeVar("Place", bound=Location)
NAMES = ("background", "hair, long", "Müll eimer")
OF_A_SHARD = 3


def make_dataset(
    folder: Place, masks: Sequence[np.ndarray], names: tuple[str, ...] = NAMES, *, of_a_shard: int = OF_A_SHARD
) -> Place:
    """Sample i has the i-th mask, a random image, and the uncertainty i / 100; each shard drops one sample more."""
    scheme, rng = Scheme(names), np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    begun(folder, scheme)
    for unit, start in enumerate(range(0, len(masks), of_a_shard)):
        samples = [
            Sample(seed, rng.integers(0, 256, (*masks[seed].shape, 3), dtype=np.uint8), masks[seed], seed / 100, {})
            for seed in range(start, min(start + of_a_shard, len(masks)))
        ]
        commit(folder, unit, samples, scheme, [Candidate(1000 + unit, False, 0.9, [0] * len(scheme))])
    return folder


def random_masks(count: int, classes: int = 3, shape: tuple[int, int] = (11, 14)) -> list[np.ndarray]:
    """Noise of large and small regions, with ignored pixels."""
    rng = np.random.default_rng(classes)
    masks = [rng.integers(0, classes, shape, dtype=np.uint8) for _ in range(count)]
    for mask in masks:
        mask[2:8, 3:9] = 1
        mask[4:6, 5:7] = 255
    return masks

"""What an actor does: build the models once, then make units. It needs no Ray: `build(...)(0)` makes unit 0 here."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from generate import sample
from label import FILTERS, Labels
from label.threads import torch_threads
from pipelines.dataset.manifest import Dataset
from pipelines.dataset.reports import Candidate, Report
from pipelines.dataset.shards import Sample, class_pixels, encode, tar_of, write_shard
from pipelines.sections import GenerateSection
from pipelines.storage import Location
from pipelines.units.models import Models

_ENCODERS = 4  # threads, beside a GPU: a unit ends when its last batch is encoded, and nothing is sampled meanwhile


def make_unit(
    unit: int,
    models: Models,
    settings: GenerateSection,
    dataset: Dataset,
    folder: Location,
    *,
    batch_size: int | None = None,
) -> Report:
    """Sample, label, filter and commit one unit; a batch that is not the recipe's is written into its samples."""
    with torch_threads(settings.threads):  # the last bits of sums depend on it, whatever an actor was given
        return _make_unit(unit, models, settings, dataset, folder, batch_size or settings.batch)


def _make_unit(
    unit: int, models: Models, settings: GenerateSection, dataset: Dataset, folder: Location, batch_size: int
) -> Report:
    clock, seeds, scheme = _Clock(), iter(settings.seeds(unit)), dataset.scheme
    made: list[Sample] = []
    encoders = _ENCODERS if models.denoiser.device.type == "cuda" else 1
    with ThreadPoolExecutor(encoders) as encoder:  # images are encoded while the next ones are sampled
        encoded: list[Future[dict[str, bytes]]] = []
        for images in sample(
            models.denoiser,
            settings.seeds(unit),
            run_seed=settings.run_seed,
            solver=settings.solver,
            steps=settings.steps,
            batch_size=batch_size,
        ):
            clock.lap("sample")
            labels = models.interpreter.predict(images)  # of 8-bit images, so that it can be computed again
            labelled = _samples(settings, dataset, list(islice(seeds, len(images))), images, labels, batch_size)
            made += labelled
            encoded += [encoder.submit(encode, each, scheme) for each in labelled]
            clock.lap("label")
    kept = set(FILTERS[settings.filter](torch.tensor([s.uncertainty for s in made]), settings.portion).tolist())
    tar = tar_of({each.seed: encoded[i].result() for i, each in enumerate(made) if i in kept})
    candidates = [Candidate(s.seed, i in kept, s.uncertainty, class_pixels(s.mask, scheme)) for i, s in enumerate(made)]
    clock.lap("encode")
    other = None if batch_size == settings.batch else batch_size
    return write_shard(folder, unit, dataset.digest, tar, candidates, clock.seconds, batch_size=other)


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def _samples(
    settings: GenerateSection,
    dataset: Dataset,
    seeds: list[int],
    images: UInt8[np.ndarray, "b h w 3"],
    labels: Labels,
    batch_size: int,
) -> list[Sample]:
    provenance: dict[str, Any] = {"solver": settings.solver, "steps": settings.steps, "dataset": dataset.digest}
    if batch_size != settings.batch:
        provenance["batch_size"] = batch_size
    doubts = labels.pixel_uncertainty if settings.uncertainty_maps else [None] * len(images)
    return [
        Sample(seed, image, mask, float(uncertainty), provenance, doubt)
        for seed, image, mask, uncertainty, doubt in zip(
            seeds, images, labels.masks, labels.uncertainty, doubts, strict=True
        )
    ]

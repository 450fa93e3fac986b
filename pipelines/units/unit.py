"""One unit: a fixed range of seeds, sampled, labelled, filtered, encoded and committed."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from generate import sample
from label import Labels
from label.threads import torch_threads
from pipelines.dataset.filtering import chosen
from pipelines.dataset.manifest import Dataset
from pipelines.dataset.reports import Candidate, Report
from pipelines.dataset.shards import Sample, class_pixels, encode, tar_of, write_shard
from pipelines.sections import GenerateSection
from pipelines.storage import Location
from pipelines.units.models import Models

_ENCODERS = 4  # threads, beside a GPU: a unit ends when its last batch is encoded, and nothing is sampled meanwhile


def make_unit(
    unit: int, batch_size: int, *, models: Models, settings: GenerateSection, dataset: Dataset, folder: Location
) -> Report:
    """Sample, label, filter and commit one unit; a batch that is not the recipe's is written into its samples."""
    clock, unit_seeds = _Clock(), settings.seeds(unit)
    seeds, samples, encoded = iter(unit_seeds), list[Sample](), list[Future[dict[str, bytes]]]()
    candidates = list[Candidate]()
    encoders = _ENCODERS if models.denoiser.device.type == "cuda" else 1
    # the last bits of sums depend on the threads, whatever an actor was given
    # images are encoded while the next ones are sampled
    with torch_threads(settings.threads), ThreadPoolExecutor(encoders) as encoder:
        for images in sample(
            models.denoiser,
            unit_seeds,
            run_seed=settings.run_seed,
            solver=settings.solver,
            steps=settings.steps,
            batch_size=batch_size,
        ):
            clock.lap("sample")
            labels = models.interpreter.predict(images)  # of 8-bit images, so that it can be computed again
            batch = _samples(settings, dataset, list(islice(seeds, len(images))), images, labels, batch_size)
            samples += batch
            candidates += map(partial(_candidate, dataset), batch, labels.pixel_uncertainty)
            encoded += [encoder.submit(encode, each, dataset.scheme) for each in batch]
            clock.lap("label")
    candidates = chosen(candidates, settings.filter, settings.portion, dataset.names)
    stored = [i for i, each in enumerate(candidates) if each.kept or settings.keep_all]
    tar = tar_of({samples[i].seed: encoded[i].result() for i in stored})
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


def _candidate(dataset: Dataset, sample: Sample, nats: Float[np.ndarray, "h w"]) -> Candidate:
    """Before the filter."""
    pixels = np.array(class_pixels(sample.mask, dataset.scheme))
    known = sample.mask < len(pixels)
    sums = np.bincount(sample.mask[known], weights=nats[known].astype(np.float64), minlength=len(pixels))
    doubts = np.round(sums / np.maximum(pixels, 1), 6)
    return Candidate(sample.seed, True, sample.uncertainty, pixels.tolist(), doubts.tolist())

"""One unit: a fixed range of seeds, sampled, labelled, filtered, encoded and committed."""

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
    unit: int, batch_size: int, *, models: Models, settings: GenerateSection, dataset: Dataset, folder: Location
) -> Report:
    """Sample, label, filter and commit one unit; a batch that is not the recipe's is written into its samples."""
    clock, unit_seeds = _Clock(), settings.seeds(unit)
    seeds, samples, encoded = iter(unit_seeds), list[Sample](), list[Future[dict[str, bytes]]]()
    encoders = _ENCODERS if models.denoiser.device.type == "cuda" else 1
    # the last bits of sums depend on the threads, whatever an actor was given
    with torch_threads(settings.threads):
        with ThreadPoolExecutor(encoders) as encoder:  # images are encoded while the next ones are sampled
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
                encoded += [encoder.submit(encode, each, dataset.scheme) for each in batch]
                clock.lap("label")
        scores = torch.tensor([each.uncertainty for each in samples])
        if not scores.isfinite().all():
            wrong = samples[int((~scores.isfinite()).nonzero()[0])]
            raise FloatingPointError(
                f"the uncertainty of seed {wrong.seed} is {wrong.uncertainty}; the models compute what is not finite: "
                'take denoiser.dtype = "float32", or other models'
            )
        kept = set(FILTERS[settings.filter](scores, settings.portion).tolist())
    stored = range(len(samples)) if settings.keep_all else sorted(kept)
    tar = tar_of({samples[i].seed: encoded[i].result() for i in stored})
    candidates = [_candidate(each, dataset, kept=i in kept) for i, each in enumerate(samples)]
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


def _candidate(sample: Sample, dataset: Dataset, *, kept: bool) -> Candidate:
    return Candidate(sample.seed, kept, sample.uncertainty, class_pixels(sample.mask, dataset.scheme))

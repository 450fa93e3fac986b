"""One unit: a fixed range of seeds, their images made or read, labelled, filtered, encoded and committed."""

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from generate import ImageSource
from label import Interpreter, Labels
from label.threads import torch_threads
from pipelines.dataset.filtering import chosen
from pipelines.dataset.manifest import Dataset
from pipelines.dataset.reports import Candidate, Report
from pipelines.dataset.shards import Sample, class_pixels, encode, tar_of, write_shard
from pipelines.files.storage import Location
from pipelines.sections.generate import GenerateSection

_PHASES = {"denoiser": "sample", "both": "sample", "photographs": "read"}  # what taking images is called in reports
_ENCODERS = 4  # threads, beside a GPU: a unit ends when its last batch is encoded, and nothing is sampled meanwhile


def make_unit(
    unit: int,
    batch_size: int,
    *,
    source: ImageSource,
    interpreter: Interpreter,
    settings: GenerateSection,
    dataset: Dataset,
    folder: Location,
) -> Report:
    """Take images, label, filter and commit one unit; a batch that is not the recipe's is written into its samples."""
    clock, unit_seeds = _Clock(), settings.seeds(unit)
    seeds, samples, encoded = iter(unit_seeds), list[Sample](), list[Future[dict[str, bytes]]]()
    encoders, phase, candidates = _encoders(interpreter), _PHASES[settings.source.images], list[Candidate]()
    # the last bits of sums depend on the threads, whatever an actor was given
    # images are encoded while the next ones are sampled
    with torch_threads(settings.threads), ThreadPoolExecutor(encoders) as encoder:
        for images in source.images(unit_seeds, settings.run_seed, batch_size):
            clock.lap(phase)
            labels = interpreter.predict(images)  # of 8-bit images, so that it can be computed again
            several = list(islice(seeds, len(images)))
            shared = {"dataset": dataset.digest} | _other_batch(settings, batch_size)
            origins = [source.provenance(seed) | shared for seed in several]
            batch = _samples(several, images, labels, origins, with_maps=settings.uncertainty_maps)
            samples += batch
            candidates += map(partial(_candidate, dataset), batch, labels.pixel_uncertainty)
            encoded += [encoder.submit(encode, each, dataset.scheme) for each in batch]
            clock.lap("label")
    _must_be_finite(candidates)
    candidates = chosen(candidates, settings.filter, settings.portion, dataset.names)
    stored = [i for i, each in enumerate(candidates) if each.kept or settings.keep_all]
    tar = tar_of({samples[i].seed: encoded[i].result() for i in stored})
    clock.lap("encode")
    return write_shard(
        folder, unit, dataset.digest, tar, candidates, clock.seconds, **_other_batch(settings, batch_size)
    )


def _must_be_finite(candidates: list[Candidate]) -> None:
    """Raises FloatingPointError where the uncertainty of one is no number."""
    wrong = next((each for each in candidates if not math.isfinite(each.uncertainty)), None)
    if wrong:
        raise FloatingPointError(
            f"the uncertainty of seed {wrong.seed} is {wrong.uncertainty}; the models compute what is not finite: "
            'take denoiser.dtype = "float32", or other models'
        )


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def _encoders(interpreter: Interpreter) -> int:
    """Threads that encode."""
    return _ENCODERS if next(interpreter.classifiers.parameters()).device.type == "cuda" else 1


def _other_batch(settings: GenerateSection, batch_size: int) -> dict[str, int]:
    """What report and samples say of a batch that is not the recipe's."""
    return {} if batch_size == settings.batch else {"batch_size": batch_size}


def _samples(
    seeds: list[int],
    images: UInt8[np.ndarray, "b h w 3"],
    labels: Labels,
    origins: list[dict[str, Any]],
    *,
    with_maps: bool,
) -> list[Sample]:
    doubts = labels.pixel_uncertainty if with_maps else [None] * len(images)
    return [
        Sample(seed, image, mask, float(uncertainty), origin, doubt)
        for seed, image, mask, uncertainty, origin, doubt in zip(
            seeds, images, labels.masks, labels.uncertainty, origins, doubts, strict=True
        )
    ]


def _candidate(dataset: Dataset, sample: Sample, nats: Float[np.ndarray, "h w"]) -> Candidate:
    """Before the filter."""
    pixels = np.array(class_pixels(sample.mask, dataset.scheme))
    known = sample.mask < len(pixels)
    sums = np.bincount(sample.mask[known], weights=nats[known].astype(np.float64), minlength=len(pixels))
    doubts = np.round(sums / np.maximum(pixels, 1), 6)
    prompt = sample.provenance.get("prompt")
    return Candidate(sample.seed, True, sample.uncertainty, pixels.tolist(), doubts.tolist(), prompt=prompt)

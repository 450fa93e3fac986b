"""The images of every update of a training, read ahead: which, cut how, is a function of (seed, update) alone."""

import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from generate.objective import drawn_timesteps
from generate.pictures import Picture, read_crop, read_square
from generate.pixels import to_model
from generate.schedule import Schedule
from generate.seeds import generator
from generate.settings import Training

_READERS = 4  # threads that read and decode the next update's images


@dataclass(frozen=True)
class Batch:
    """A worker's part of an update: its images in [-1, 1], their noise levels, their noise."""

    x_0: Float[Tensor, "b 3 h w"]
    t: Int[Tensor, " b"]
    noise: Float[Tensor, "b 3 h w"]

    def parts(self, count: int, device: torch.device) -> Iterator["Batch"]:
        """The same in at most so many parts, on the device."""
        split = (tensor.to(device).tensor_split(min(count, len(self.t))) for tensor in (self.x_0, self.t, self.noise))
        for x_0, t, noise in zip(*split, strict=True):
            yield Batch(x_0, t, noise)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> Int[np.ndarray, " count"]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def _seen(pictures: Sequence[Picture], size: int, settings: Training, place: int) -> UInt8[np.ndarray, "size size 3"]:
    """The place-th image that the training sees: epoch after epoch, each in an order of its own."""
    epoch, index = divmod(place, len(pictures))
    picture = pictures[_order(settings.seed, epoch, len(pictures))[index]]
    if settings.crop == "random":
        image = read_crop(picture, size, np.random.default_rng([settings.seed, 2, place]))
    else:
        image = read_square(picture, size)
    flip = settings.mirror and np.random.default_rng([settings.seed, 1, place]).random() < 0.5
    return image[:, ::-1] if flip else image


def batch_of(pictures: Sequence[Picture], size: int, settings: Training, update: int) -> np.ndarray:
    """The images of one update, uint8 [batch,size,size,3]."""
    first = update * settings.batch_size
    return np.stack([_seen(pictures, size, settings, first + i) for i in range(settings.batch_size)])


def batches(
    pictures: Sequence[Picture], size: int, schedule: Schedule, settings: Training, done: int, part: slice
) -> Generator[Batch, None, None]:
    """The part of every update's batch from the one after `done` on, one ahead of what was asked for."""

    def rest(update: int) -> tuple[Tensor, Tensor]:
        rng, count = generator(settings.seed, update), settings.batch_size
        t = drawn_timesteps(len(schedule), count, settings, rng)
        return t[part], torch.randn(count, 3, size, size, generator=rng)[part]

    with ThreadPoolExecutor(_READERS) as readers:

        def begun(update: int) -> tuple[list[Future[np.ndarray]], Future[tuple[Tensor, Tensor]]]:
            places = range(update * settings.batch_size, (update + 1) * settings.batch_size)[part]
            images = [readers.submit(_seen, pictures, size, settings, place) for place in places]
            return images, readers.submit(rest, update)

        try:
            ahead = begun(done)
            while True:
                images, drawn = ahead
                done += 1
                ahead = begun(done)
                x_0 = to_model(np.stack([image.result() for image in images]))
                yield Batch(x_0, *drawn.result())
        finally:
            readers.shutdown(cancel_futures=True)


def part_of_batch(settings: Training, rank: int, count: int) -> slice:
    """The rank-th worker's places in a batch; parts differ by one image at most."""
    return slice(*(math.ceil(settings.batch_size * edge / count) for edge in (rank, rank + 1)))

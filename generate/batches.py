"""The images of every update of a training, read ahead: which, cut how, is a function of (seed, update) alone."""

import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from generate.errors import ImageError
from generate.images import IMAGE_SUFFIXES, decoded_image, read_image
from generate.objective import drawn_timesteps
from generate.pixels import to_model
from generate.schedule import Schedule
from generate.seeds import generator
from generate.settings import Training

_READERS = 4  # threads that read and decode the next update's images
_LEAST_CROP = 0.8  # of the shorter side


@runtime_checkable
class Packed(Protocol):
    """An image that is no file of this machine; as text, its name."""

    def content(self) -> bytes:
        """The bytes of its file."""
        ...


Picture = Path | Packed


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


def image_paths(folder: Path) -> list[Path]:
    """All images below a folder, sorted by path. Raises ImageError when there are none, or no folder."""
    if not folder.is_dir():
        raise ImageError(f"{folder} {'is no folder' if folder.exists() else 'does not exist'}; images are needed there")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ImageError(f"{folder} holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return paths


def read_picture(picture: Picture) -> UInt8[np.ndarray, "h w 3"]:
    """Raises ImageError for one that cannot be read."""
    return read_image(picture) if isinstance(picture, Path) else decoded_image(picture.content(), str(picture))


def read_square(picture: Picture, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The image's central square. Raises ImageError for one that cannot be read."""
    image = Image.fromarray(read_picture(picture))
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def read_crop(picture: Picture, size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "size size 3"]:
    """A square anywhere in the image, its side four fifths of the shorter one or more."""
    image = Image.fromarray(read_picture(picture))
    side = min(image.size) * rng.uniform(_LEAST_CROP, 1)
    left, top = (rng.uniform(0, length - side) for length in image.size)
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box=box))


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

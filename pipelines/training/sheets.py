"""What a diffusion model in training paints every so often: a sheet, and how it compares with what it learns from.

An image is described by the network's own features, as `report` describes those of a dataset: each channel's mean over
the image, of all decoder blocks, at a twentieth of the noise levels. The network is that of the moment, so the figures
of a sheet say how alike two sets are to it, and later ones come from a network that sees more.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from generate import Denoiser, sample
from generate.pictures import Picture, read_square
from generate.stored import STRICT, Natural
from label import DenoiserFeatures
from pipelines.dataset.shards import png_bytes
from pipelines.files.storage import write_whole
from pipelines.quality.diversity import described, precision_recall
from pipelines.quality.neighbours import evenly
from pipelines.record import read_made

_SHEETS = 10  # over a training
_ROWS, _COLUMNS = 4, 8
_BATCH = 16
_PART_OF_LEVELS = 20


@dataclass(frozen=True)
class Likeness:
    """Precision and recall (arXiv 1904.06991) of as many samples as training images."""

    __pydantic_config__ = STRICT

    precision: float
    recall: float
    compared: Natural  # of each


def is_due(done: int, updates: int, folder: Path) -> bool:
    """Whether a sheet of that update is wanted and not there."""
    is_wanted = done > 0 and (done == updates or done % max(1, updates // _SHEETS) == 0)
    return is_wanted and not _sheet(folder, done).is_file()


def draw_sheet(
    denoiser: Denoiser, pictures: Sequence[Picture], compared: int | None, done: int, folder: Path
) -> Likeness | None:
    """Write a sheet of samples, always of the same seeds; compare so many of them, or as many as there are pictures.

    The sheet is written last: where it lies, the figures do.
    """
    count, shown = min(compared or 0, len(pictures)), list[np.ndarray]()
    painted = _shown(denoiser, max(count, _ROWS * _COLUMNS), shown)
    if count:
        likeness = _compared(denoiser, painted, pictures, count)
        write_whole(_figures(folder, done), (json.dumps(asdict(likeness)) + "\n").encode())
    else:
        likeness = None
        for _ in painted:
            pass
    write_whole(_sheet(folder, done), png_bytes(Image.fromarray(_arranged(shown))))
    return likeness


def figures_of(folder: Path, done: int) -> Likeness | None:
    """Those of the sheet of that update; None where nothing was compared. Raises RecipeError for a damaged file."""
    path = _figures(folder, done)
    if not path.is_file():
        return None
    return read_made(path, Likeness, "remove it, and run `datasetddpm train-ddpm` again")


def _sheet(folder: Path, done: int) -> Path:
    return folder / f"sheet-{done:07d}.png"


def _figures(folder: Path, done: int) -> Path:
    return _sheet(folder, done).with_suffix(".json")


def _shown(denoiser: Denoiser, count: int, shown: list[np.ndarray]) -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
    """Samples, of which the first are kept in `shown`."""
    for images in sample(denoiser, range(count), run_seed=0, steps=20, batch_size=_BATCH):
        shown += list(images)[: _ROWS * _COLUMNS - len(shown)]
        yield images


def _compared(denoiser: Denoiser, painted: Iterator[np.ndarray], pictures: Sequence[Picture], count: int) -> Likeness:
    step, blocks = len(denoiser.schedule) // _PART_OF_LEVELS, range(len(denoiser.blocks))
    source = DenoiserFeatures(denoiser, steps=[step], blocks=blocks)
    side = denoiser.image_shape[1]

    def real() -> Iterator[UInt8[np.ndarray, "b h w 3"]]:
        places = evenly(len(pictures), count)
        for start in range(0, count, _BATCH):
            yield np.stack([read_square(pictures[place], side) for place in places[start : start + _BATCH]])

    theirs: Float[Tensor, "n channels"] = torch.cat(list(described(source, real())))
    ours = torch.cat(list(described(source, painted)))[:count]
    found = precision_recall(theirs, ours)
    return Likeness(round(found.precision, 6), round(found.recall, 6), count)


def _arranged(images: list[np.ndarray]) -> UInt8[np.ndarray, "height width 3"]:
    height, width, _ = images[0].shape
    rows = np.stack(images).reshape(_ROWS, _COLUMNS, height, width, 3).swapaxes(1, 2)
    return rows.reshape(_ROWS * height, _COLUMNS * width, 3)

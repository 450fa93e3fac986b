"""Images of any size for an interpreter of one size: stretched to it, padded to it, or seen through windows of it.

Each way returns the labels of one image at that image's size; Labels.uncertainty is taken from the map at that size.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL.Image import Resampling
from torch import Tensor

from generate.frames import padded, resized, stretched, surrounded
from label.interpreter import Interpreter, Labels
from label.settings import Fit
from label.uncertainty import decide, image_uncertainty

STRIP = 16  # windows that begin in a strip; those that reach into it from the left are computed again
_BATCH = 4  # windows that go through the denoiser together


def stretch(image: UInt8[np.ndarray, "h w 3"], interpreter: Interpreter) -> Labels:
    """Resize to the interpreter's size, and its answer back: shapes are distorted unless the proportions agree."""
    labels = interpreter.predict(stretched(image, interpreter.features.image_size)[None])
    return _labels(labels.masks[0], labels.pixel_uncertainty[0], _size(image))


def pad(image: UInt8[np.ndarray, "h w 3"], interpreter: Interpreter) -> Labels:
    """Shrink or enlarge in proportion, as large as the interpreter's size allows, and repeat the edges around it."""
    framed, inside = padded(image, interpreter.features.image_size)
    labels = interpreter.predict(framed[None])
    return _labels(labels.masks[0][inside], labels.pixel_uncertainty[0][inside], _size(image))


def tile(image: UInt8[np.ndarray, "h w 3"], interpreter: Interpreter) -> Labels:
    """Label through overlapping windows at the image's own scale; edges are repeated where it is smaller than one.

    Windows lie half a window apart or a little less. Each member's scores are blended with weights that fade towards
    a window's border and add up to 1 at every pixel; votes and divergence come after, so there are no seams.
    What a model expects at places of its image it expects in every window: things must be of the size it knows.
    However large the image, no more scores are held than [members, height, (STRIP + 1) / 2 * width, classes], height
    and width being a window's, half of them again, and a few windows: wider images are labelled in strips.
    """
    height, width = interpreter.features.image_size
    framed, inside = surrounded(image, (max(height, image.shape[0]), max(width, image.shape[1])))
    mask, doubt = np.empty(_size(framed), np.uint8), np.empty(_size(framed), np.float32)
    rows, columns = _windows(framed.shape[0], height), _windows(framed.shape[1], width)
    for strip in _strips(columns, framed.shape[1]):
        for top, scores in _bands(framed, interpreter, rows, columns, strip):
            left = strip.start
            for piece in scores.split(width, dim=2):
                place = np.s_[top : top + piece.shape[1], left : left + piece.shape[2]]
                mask[place], doubt[place] = (labels.cpu().numpy() for labels in decide(piece))
                left += piece.shape[2]
    return _labels(mask[inside], doubt[inside], _size(image))


FITS: dict[Fit, Callable[[np.ndarray, Interpreter], Labels]] = {"stretch": stretch, "pad": pad, "tile": tile}


@dataclass(frozen=True)
class _Window:
    """A window's place on one axis, and its share of the blend at each of its pixels."""

    start: int
    weights: Float[Tensor, " window"]


def _windows(side: int, window: int) -> list[_Window]:
    """Evenly spread windows, at most half of one apart; their weights are squared sines, over the sum at each pixel."""
    steps = math.ceil((side - window) / max(1, window // 2))
    starts = [round(i * (side - window) / max(1, steps)) for i in range(steps + 1)]
    fading = torch.sin(math.pi * (torch.arange(window, dtype=torch.float64) + 0.5) / window) ** 2
    total = torch.zeros(side, dtype=torch.float64)
    for start in starts:
        total[start : start + window] += fading
    return [_Window(start, (fading / total[start : start + window]).float()) for start in starts]


def _strips(columns: Sequence[_Window], side: int) -> list[range]:
    """Pixels of one axis, cut where every STRIP-th window begins."""
    borders = [*(window.start for window in columns[::STRIP]), side]
    return [range(*ends) for ends in pairwise(borders)]


def _bands(
    image: np.ndarray, interpreter: Interpreter, rows: Sequence[_Window], columns: Sequence[_Window], strip: range
) -> Iterator[tuple[int, Float[Tensor, "members band strip classes"]]]:
    """Yield a strip's blended scores from the top down, each band with its first row once no window is missing.

    A band is a view, to be used before the next one is asked for.
    """
    (height, width), classifiers = interpreter.features.image_size, interpreter.classifiers
    device = classifiers.linear_3.bias.device
    blended = torch.zeros(classifiers.members, height, len(strip), classifiers.classes, device=device)
    columns = [c for c in columns if c.start < strip.stop and c.start + width > strip.start]
    for row, end in zip(rows, [*(row.start for row in rows[1:]), image.shape[0]], strict=True):
        across = image[row.start : row.start + height]
        windows = [across[:, c.start : c.start + width] for c in columns]
        for column, scores in zip(columns, _scores(interpreter, windows), strict=True):
            first, last = max(column.start, strip.start), min(column.start + width, strip.stop)
            seen = slice(first - column.start, last - column.start)
            weights = (row.weights.unsqueeze(1) * column.weights[seen]).unsqueeze(-1).to(device)
            blended[:, :, first - strip.start : last - strip.start] += scores[:, :, seen] * weights
        done = end - row.start
        yield row.start, blended[:, :done]
        blended[:, : height - done] = blended[:, done:].clone()
        blended[:, height - done :] = 0


def _scores(interpreter: Interpreter, windows: Sequence[np.ndarray]) -> Iterator[Tensor]:
    for start in range(0, len(windows), _BATCH):
        yield from interpreter.logits(np.stack(windows[start : start + _BATCH]))


def _size(image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape[:2]
    return height, width


def _labels(mask: np.ndarray, doubt: np.ndarray, size: tuple[int, int]) -> Labels:
    """At `size` (height, width): the mask by nearest neighbour, the uncertainty bilinearly."""
    mask, doubt = resized(mask, size, Resampling.NEAREST), resized(doubt, size, Resampling.BILINEAR)
    return Labels(mask[None], image_uncertainty(torch.tensor(doubt)[None]).numpy(), doubt[None])

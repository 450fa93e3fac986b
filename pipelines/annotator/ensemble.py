"""A small ensemble, fitted in a moment on the annotated pixels whose features are in hand, and how well it would do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from generate.seeds import generator
from label import FITTINGS, IGNORE, FeatureSource, Upsampling
from label.fitting import LabelledPixels, fit_members
from label.pixel_classifiers import PixelClassifiers
from label.pixel_source import PixelSource
from label.uncertainty import majority

MEMBERS = 3
_BYTES = 8_000_000  # features that are kept of one image
_MOST = 2048  # pixels that are kept of one image
_TOGETHER = 8192  # pixels of all images that are learnt from
_FITTING = replace(FITTINGS["fast"], members=MEMBERS, batch_size=256)

Maps = list[Float[Tensor, "1 _ _ _"]]


@dataclass(frozen=True)
class Pixels:
    """Annotated pixels of one image, with their features."""

    features: Float[Tensor, "p channels"]  # half precision
    labels: Int[Tensor, " p"]


def chosen_pixels(
    maps: Maps, mask: UInt8[np.ndarray, "h w"], features: FeatureSource, upsampling: Upsampling
) -> Pixels:
    """At most so many of a mask's pixels as memory allows, a class by (its share) ** 0.5."""
    height, width = features.image_size
    rows, columns = (np.arange(new) * old // new for new, old in zip((height, width), mask.shape, strict=True))
    small = torch.from_numpy(mask[np.ix_(rows, columns)].astype(np.int64)).flatten()
    places = torch.nonzero(small != IGNORE).flatten()
    kept = _balanced(small[places], min(_MOST, _BYTES // (2 * features.channels)))
    places = places[kept]
    source = PixelSource([m.permute(0, 2, 3, 1) for m in maps], features.image_size, upsampling)
    gathered = source.gather(torch.zeros_like(places), places // width, places % width)
    return Pixels(gathered.half(), small[places])


def _balanced(labels: Int[Tensor, " p"], most: int) -> Int[Tensor, " kept"]:
    """Places of at most so many labels, a class by (its share) ** 0.5."""
    if len(labels) <= most:
        return torch.arange(len(labels))
    weights = torch.bincount(labels).float().rsqrt()[labels]
    return torch.multinomial(weights, most, generator=generator(0, 0)).sort().values


def trained(
    pixels: Sequence[Pixels], classes: int, *, batches: int, stop: Callable[[], bool] = lambda: False
) -> PixelClassifiers | None:
    """Classifiers after so many batches; None where fewer than two classes are annotated, or `stop` says so."""
    labels = torch.cat([p.labels for p in pixels]) if pixels else torch.empty(0, dtype=torch.long)
    if len(labels.unique()) < 2:
        return None
    kept = _balanced(labels, _TOGETHER)
    features, labels = torch.cat([p.features for p in pixels])[kept], labels[kept]
    # as one image of one row, at its own resolution: gathering is a look at a row
    source = PixelSource([features[None, None]], (1, len(features)))
    zeros = torch.zeros_like(labels)
    settings = replace(_FITTING, max_batches=batches, max_epochs=batches, patience=batches)
    classifiers = PixelClassifiers(MEMBERS, features.shape[1], classes)
    for _ in fit_members(
        classifiers, source, LabelledPixels(zeros, zeros, torch.arange(len(labels)), labels), settings
    ):
        if stop():
            return None
    return classifiers


@dataclass(frozen=True)
class Validation:
    """Drawn pixels labelled by an ensemble that did not learn from their image."""

    mean_iou: float | None  # over the classes that count; None where nothing can be said yet
    iou: tuple[float | None, ...]  # of each class; None for one that no pixel has
    images: int
    pixels: int


@torch.no_grad()
def _predicted(classifiers: PixelClassifiers, pixels: Pixels) -> Int[np.ndarray, " p"]:
    scores = classifiers(pixels.features.float().expand(MEMBERS, -1, -1))
    return majority(scores).numpy().astype(np.int64)


def cross_validated(
    pixels: Sequence[Pixels], classes: int, *, folds: int, batches: int, stop: Callable[[], bool]
) -> Validation | None:
    """Each fold of images labelled by an ensemble fitted on the others; None where `stop` says so."""
    truth, found = [], []
    for fold in range(min(folds, len(pixels))):
        inside = [p for i, p in enumerate(pixels) if i % folds != fold]
        outside = [p for i, p in enumerate(pixels) if i % folds == fold]
        classifiers = trained(inside, classes, batches=batches, stop=stop)
        if stop():
            return None
        if classifiers is not None:
            truth += [p.labels.numpy() for p in outside]
            found += [_predicted(classifiers, p) for p in outside]
    return (
        _validation(np.concatenate(truth), np.concatenate(found), classes, len(truth)) if truth else _nothing(classes)
    )


def _nothing(classes: int) -> Validation:
    return Validation(None, (None,) * classes, 0, 0)


def _validation(truth: np.ndarray, found: np.ndarray, classes: int, images: int) -> Validation:
    confusion = np.bincount(truth * classes + found, minlength=classes**2).reshape(classes, classes)
    both, either = np.diag(confusion), confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    there = confusion.sum(1) > 0
    iou = tuple(float(b / e) if t else None for b, e, t in zip(both, either, there, strict=True))
    counted = [value for value in iou if value is not None]
    return Validation(float(np.mean(counted)) if counted else None, iou, images, len(truth))

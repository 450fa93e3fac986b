"""How well an interpreter labels images that it was not fitted on, from maps that are computed once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import UInt8

from label.features import FeatureSource
from label.fitting import fit_members, labelled_pixels
from label.interpreter import Interpreter
from label.pixel_classifiers import PixelClassifiers
from label.pixel_source import PixelSource
from label.schemes import IGNORE, Scheme
from label.settings import Fitting

_AT_ONCE = 8  # images that are labelled


def folds_of(images: int, folds: int) -> list[list[int]]:
    """Image i lies in fold i modulo their number; of fewer images than folds, each is a fold."""
    count = min(folds, images)
    return [list(range(fold, images, count)) for fold in range(count)]


def kept_maps(whole: PixelSource, chosen: Sequence[int]) -> PixelSource:
    """Some of the maps that are there, in this order; nothing is copied."""
    return replace(whole, maps=[whole.maps[number] for number in chosen])


def cross_validated(
    features: FeatureSource,
    source: PixelSource,
    masks: UInt8[np.ndarray, "n h w"],
    *,
    classes: Scheme,
    settings: Fitting,
    folds: int,
    device: str | torch.device = "cpu",
) -> UInt8[np.ndarray, "n h w"]:
    """Masks of all images, each by an interpreter that was fitted on the images of the other folds.

    `source` holds maps of all images, in the order of the masks, as `features` makes them, or some of these. Raises
    AnnotationError where the other folds hold no labelled pixel.
    """
    predicted = np.full_like(masks, IGNORE)
    for held_out in folds_of(len(masks), folds):
        others = sorted(set(range(len(masks))) - set(held_out))
        learnt = replace(source, maps=[native[others] for native in source.maps])
        classifiers = PixelClassifiers(settings.members, source.channels, len(classes)).to(device)
        pixels = labelled_pixels(masks[others], settings.min_class_pixels)
        for _ in fit_members(classifiers, learnt, pixels, settings):
            pass
        interpreter = Interpreter(features, classifiers, classes, upsampling=source.upsampling)
        for start in range(0, len(held_out), _AT_ONCE):
            some = held_out[start : start + _AT_ONCE]
            maps = [native[some].permute(0, 3, 1, 2).to(device).float() for native in source.maps]
            predicted[some] = interpreter.label(maps).masks
    return predicted

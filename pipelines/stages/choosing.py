"""Which of many samples are to annotate: unknown to the interpreter, and unlike what is annotated."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from label import AnnotationError, Annotations, FeatureSource, Interpreter
from label.pairs import find_pairs
from pipelines.annotated import annotations_digest, open_annotations
from pipelines.annotator.order import chosen, pooled
from pipelines.folders import interpreter_folder
from pipelines.recipe import Recipe
from pipelines.record import RECORD
from pipelines.units.devices import device
from pipelines.units.models import open_features, open_interpreter


@dataclass(frozen=True)
class Chooser:
    """What a choice stands on."""

    features: FeatureSource
    interpreter: Interpreter | None
    annotated: Annotations | None

    @classmethod
    def of(cls, recipe: Recipe) -> "Chooser":
        """The recipe's interpreter, where it is fitted, and paths.annotated, where there are masks.

        Raises InterpreterError for an interpreter of another model, AnnotationError for masks that are wrong.
        """
        if (interpreter_folder(recipe) / RECORD).is_file():
            fitted = open_interpreter(recipe, device())
            return cls(fitted.features, fitted, _annotated(recipe, fitted.features.image_size))
        features = open_features(recipe, device())
        return cls(features, None, _annotated(recipe, features.image_size))

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """All that a choice depends on beside the samples."""
        return {
            "features": self.features.digest,
            "interpreter": self.interpreter and self.interpreter.digest,
            "annotated": self.annotated and annotations_digest(self.annotated),
        }

    def chosen(self, images: Iterable[UInt8[np.ndarray, "h w 3"]], count: int) -> list[int]:
        """The places of so many of the images, in the order in which they should be annotated."""
        known = [self._known(image) for image in images]
        seen = [self._known(image)[0] for image in (self.annotated.images if self.annotated else ())]
        candidates = np.stack([vector for vector, _ in known])
        before = np.array(seen, candidates.dtype).reshape(-1, candidates.shape[1])
        return chosen(candidates, before, np.array([doubt for _, doubt in known]), count)

    @torch.no_grad()
    def _known(self, image: UInt8[np.ndarray, "h w 3"]) -> tuple[np.ndarray, float]:
        """An image's pooled features, and its uncertainty: the same for all where there is no interpreter."""
        maps = self.features.maps(image[None])
        doubt = float(self.interpreter.label(maps).uncertainty[0]) if self.interpreter else 1.0
        return pooled(maps), doubt


def _annotated(recipe: Recipe, size: tuple[int, int]) -> Annotations | None:
    folder = recipe.paths.annotated
    try:
        if folder is None or not find_pairs(folder).annotated:
            return None
    except AnnotationError:  # no folder, or no image in it yet
        return None
    return open_annotations(recipe, folder, size)

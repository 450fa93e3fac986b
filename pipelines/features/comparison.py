"""What was measured of a choice of maps, a file each, so that a comparison that was stopped goes on."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import deeplab
from generate.stored import STRICT, Digest, Natural, StoredError, stored
from label import FITTINGS, IGNORE, Annotations, FeatureSource, Fitting
from label.cross_validation import cross_validated, kept_maps
from label.pixel_source import PixelSource
from pipelines.annotated import annotations_digest
from pipelines.digests import digest_of
from pipelines.errors import RecipeError
from pipelines.features.choices import Choice, Measured
from pipelines.files.storage import make_folder, write_whole
from pipelines.recipe import Recipe
from pipelines.units.devices import device


@dataclass(frozen=True)
class _Cell:
    """What the file of a cell holds."""

    __pydantic_config__ = STRICT

    digest: Digest  # of all that the scores depend on
    channels: Natural
    mean_iou: float | None
    iou: list[float | None]


@dataclass(frozen=True)
class Comparison:
    """Maps of all that may be chosen, computed once when they are first needed, and the images that they are of."""

    features: FeatureSource  # of all of `whole`
    whole: Choice
    annotations: Annotations
    upsampling: Any
    settings: Fitting
    folds: int
    excluded: Sequence[int]  # classes that no mean counts
    folder: Path  # of the cells

    @property
    def inputs(self) -> dict[str, Any]:
        """All that the scores depend on."""
        return {
            "features": self.features.digest,
            "whole": [[key, list(values)] for key, values in self.whole.keys],
            "annotated": annotations_digest(self.annotations),
            "upsampling": self.upsampling,
            "fitting": asdict(self.settings),
            "folds": self.folds,
            "excluded": list(self.excluded),
        }

    @cached_property
    def maps(self) -> PixelSource:
        """In memory where they fit into the budget of a fit, otherwise in a file without a name."""
        maps = PixelSource.of(
            self.features,
            self.annotations.images,
            upsampling=self.upsampling,
            memory_budget=self.settings.memory_budget,
            device=device(),
        )
        assert len(maps.maps) == len(self.whole.places), "a map for each combination"
        return maps

    def measure(self, choice: Choice) -> Measured:
        """What was measured before, or the scores of a cross-validation now, which are kept."""
        if cell := self._kept(choice):
            return Measured(choice, cell.channels, cell.mean_iou, tuple(cell.iou))
        source = kept_maps(self.maps, choice.within(self.whole))
        few = self.annotations
        masks = cross_validated(
            self.features,
            source,
            few.masks,
            classes=few.scheme,
            settings=self.settings,
            folds=self.folds,
            device=device(),
        )
        scores = deeplab.score(
            masks, few.masks, classes=len(few.scheme), ignore_index=IGNORE, excluded=list(self.excluded)
        )
        mean_iou = None if math.isnan(scores.mean_iou) else scores.mean_iou
        self._keep(choice, _Cell(self._digest(choice), source.channels, mean_iou, list(scores.iou)))
        return Measured(choice, source.channels, mean_iou, scores.iou)

    def _digest(self, choice: Choice) -> str:
        return digest_of({"comparison": self.inputs, "choice": choice.name})

    def _path(self, choice: Choice) -> Path:
        return self.folder / f"{choice.name[:80]}-{self._digest(choice)[:8]}.json"

    def _kept(self, choice: Choice) -> _Cell | None:
        path = self._path(choice)
        if not path.is_file():
            return None
        try:
            cell = stored(path.read_bytes(), _Cell)
        except (StoredError, OSError) as error:
            raise RecipeError(f"{path} is no measured cell ({error}); remove it, and it is measured again") from error
        return cell if cell.digest == self._digest(choice) else None

    def _keep(self, choice: Choice, cell: _Cell) -> None:
        make_folder(self.folder)
        write_whole(self._path(choice), (json.dumps(asdict(cell), indent=2, allow_nan=False) + "\n").encode())


def small_fitting(recipe: Recipe) -> Fitting:
    """The fast setting with few members; what counts, the seed, and a lower limit of batches are as in the recipe."""
    own, fast = recipe.interpreter.fitting, FITTINGS["fast"]
    assert fast.max_batches is not None
    return replace(
        fast,
        members=recipe.features.members,
        max_batches=min(fast.max_batches, own.max_batches or fast.max_batches),
        min_class_pixels=own.min_class_pixels,
        seed=own.seed,
        memory_budget=own.memory_budget,
    )

"""What a training has done so far: its checkpoint, its losses and validation curve, and logs for TensorBoard."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deeplab import Step, Trainee
from generate import CheckpointError
from generate.tensors import load_saved
from pipelines.digests import first_difference
from pipelines.errors import RecipeError
from pipelines.files import storage
from pipelines.files.storage import writing
from pipelines.record import CHECKPOINT
from pipelines.training import events
from pipelines.training.events import Scalars


@dataclass
class Curve:
    """Validation mIoU by step, and the weights of the best."""

    points: list[tuple[int, float]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_step: int | None = None

    def add(self, step: int, mean_iou: float, network: nn.Module) -> None:
        """The first of equals stays the best; nan, where no class counts, is worse than any."""
        before = max((iou for _, iou in self.points if not math.isnan(iou)), default=-1.0)
        self.points.append((step, mean_iou))
        if self.best is None or mean_iou > before:
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
            self.best_step = step


class Log:
    """What of a training TensorBoard shows."""

    def __init__(self, scalars: Scalars) -> None:
        self._scalars = scalars

    def step(self, step: Step, samples: int) -> None:
        """`samples` is how many the step saw, those of all workers."""
        self._scalars.add("train/loss", step.loss, step.number)
        self._scalars.add("train/learning_rate", step.learning_rate, step.number)
        self._scalars.add("speed/samples_per_second", samples / step.seconds, step.number)
        self._scalars.add("speed/share_of_time_waiting", step.waited / step.seconds, step.number)

    def curve(self, curve: Curve) -> None:
        if curve.points:
            step, mean_iou = curve.points[-1]
            self._scalars.add("validation/mean_iou", mean_iou, step)
            self._scalars.flush()


@dataclass
class History:
    """A training from its first step to `done`."""

    done: int
    losses: list[float]
    curve: Curve
    state: dict[str, Any] | None  # of the trainee, as it was read

    @classmethod
    def start(cls) -> "History":
        return cls(0, [], Curve(), None)

    @classmethod
    def read(cls, folder: Path, inputs: dict[str, Any]) -> "History | None":
        """The folder's checkpoint, if there is one. Raises RecipeError for one of other settings or data."""
        path = folder / CHECKPOINT
        if not path.is_file():
            return None
        try:
            stored = load_saved(path)
            before, curve = stored["inputs"], stored["curve"]
        except (CheckpointError, LookupError, TypeError) as error:
            raise RecipeError(f"{path} is no checkpoint of a training; remove it to train anew") from error
        if difference := first_difference(before, inputs):
            raise RecipeError(
                f"{path} is of a training of another recipe: {difference}; remove it to train anew, or restore "
                "the recipe"
            )
        try:
            points = [(int(step), float(iou)) for step, iou in curve["points"]]
            losses, done = [float(loss) for loss in stored["losses"]], int(stored["trainee"]["done"])
            if len(losses) != done or not all(map(math.isfinite, losses)):
                raise ValueError(f"{len(losses)} losses of {done} steps")
            return cls(done, losses, Curve(points, curve["best"], curve["best_step"]), stored["trainee"])
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RecipeError(f"{path} is no checkpoint of a training; remove it to train anew") from error

    def write(self, folder: Path, inputs: dict[str, Any], trainee: Trainee) -> None:
        """Keep the training as it is now; nobody ever sees a part of it. Raises StorageError on a full disk."""
        self.done = trainee.done
        curve = {"points": self.curve.points, "best": self.curve.best, "best_step": self.curve.best_step}
        stored = {"inputs": inputs, "losses": self.losses, "curve": curve, "trainee": trainee.state()}
        with writing(folder / CHECKPOINT) as temporary, open(temporary, "wb") as file:
            torch.save(stored, file)

    @staticmethod
    def forget(folder: Path) -> None:
        """Remove the checkpoint of a training that is finished, and what a kill left of others."""
        for name in storage.names(folder):
            if name == CHECKPOINT or storage.is_temporary(name):
                storage.remove(folder / name)

    @contextmanager
    def logging(self, folder: Path, done: int) -> Iterator[Log]:
        """Open the log; what an interrupted run logged after step `done` is hidden by it."""
        with events.opened(folder, done) as scalars:
            yield Log(scalars)

"""The interpreter that watches: one thread that learns from each stroke and says what it would label.

What a person waits for comes first: the open image's labels after a stroke, quickly and then better. In between come
maps of the images that may be next, what the ensemble does not know of each, and last a cross-validation.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from generate import ImageError
from label import IGNORE, AnnotationError, FeatureSource, Interpreter, Labels, Upsampling
from pipelines.annotator.ensemble import chosen_pixels, cross_validated, trained
from pipelines.annotator.folder import AnnotatedFolder, UnknownImageError
from pipelines.annotator.memory import Memory
from pipelines.annotator.messages import Message, suggestion
from pipelines.annotator.order import farthest, order

QUICK, FULL = 20, 60  # batches of an ensemble
_FOLDS, _AHEAD = 3, 200  # images whose doubt is asked for, at most, between two strokes
_PAUSE = 1.0  # seconds without a stroke, after which it is worth while to cross-validate
_TROUBLE = (ImageError, AnnotationError, UnknownImageError, ValueError)


class Watcher:
    """Everything that it finds goes to `tell`, from its own thread."""

    def __init__(
        self,
        folder: AnnotatedFolder,
        features: FeatureSource,
        tell: Callable[[Message], None],
        *,
        upsampling: Upsampling = "bilinear",
    ) -> None:
        self.memory = Memory(folder, features)
        self._folder, self._tell = folder, tell
        self._upsampling: Upsampling = upsampling
        self._condition = threading.Condition()
        self._ended = self._urgent = self._failed = False
        self._fresh = True  # there is something that the ensemble has not learnt
        self._open: str | None = None
        self._stale = dict.fromkeys(name for name in folder.names if folder.state(name) != "untouched")
        self._interpreter: Interpreter | None = None
        self._last_stroke = self._asked = time.monotonic()  # asked: by a stroke, or as an image was opened
        self._tasks: Iterator[None] = iter(())

    def opened(self, name: str) -> None:
        """A tab shows this image."""
        with self._condition:
            self._open, self._urgent, self._asked = name, True, time.monotonic()
            self._condition.notify()

    def changed(self, name: str) -> None:
        """A mask was written; the newest comes first."""
        with self._condition:
            self._open, self._stale = name, {name: None, **self._stale}
            self._urgent, self._last_stroke, self._asked = True, time.monotonic(), time.monotonic()
            self._condition.notify()

    def renewed(self) -> None:
        """Classes or images were added."""
        with self._condition:
            self._fresh, self._urgent = True, True
            self._condition.notify()

    def end(self) -> None:
        with self._condition:
            self._ended, self._urgent = True, True
            self._condition.notify()

    def ends_well(self) -> bool:
        """End, and say whether it had worked until then."""
        self.end()
        return not self._failed

    def run(self) -> None:
        """Work until `end`."""
        try:
            self._urgent = True
            while not self._ended:
                with self._condition:
                    if self._urgent:
                        self._urgent, self._tasks = False, self._work()
                if not self._ended and next(self._tasks, self) is self:
                    with self._condition:
                        self._condition.wait_for(lambda: self._urgent)
        finally:
            self._failed = not self._ended

    def _interrupted(self) -> bool:
        return self._urgent

    def _work(self) -> Iterator[None]:
        """All that there is to do, most wanted first; a stroke ends it and begins it anew."""
        shown = self._open
        if shown and not self._has_maps(shown):
            yield
        for name in list(self._stale):
            if name == shown or name in self.memory.maps:
                self._take(name)
        learns = self._fresh
        yield from self._learn(shown)
        while self._stale:
            self._take(next(iter(self._stale)))
            self._tell({"kind": "maps", "left": len(self._stale)})
            yield
        if self._fresh:
            learns = True
            yield from self._learn(shown)
        yield from self._look_ahead(learns)
        yield from self._validate()

    def _learn(self, shown: str | None) -> Iterator[None]:
        if not self._fresh:
            self._show(shown)
            yield
            return
        for batches in (QUICK, FULL):
            if not self._fit(batches):
                return
            self._show(shown)
            yield
        self._fresh = False

    def _fit(self, batches: int) -> bool:
        """Whether there is an ensemble now, and time to go on."""
        started, scheme = time.monotonic(), self._folder.scheme
        pixels = list(self.memory.learnt.values())
        classifiers = trained(pixels, len(scheme), batches=batches, stop=self._interrupted)
        if classifiers is None:
            if not self._interrupted():
                self._interpreter, self._fresh = None, False
                self._tell({"kind": "waiting"})
            return False
        self._interpreter = Interpreter(self.memory.features, classifiers, scheme, upsampling=self._upsampling)
        self._tell({"kind": "fitted", "batches": batches, "seconds": round(time.monotonic() - started, 3)})
        return True

    def _take(self, name: str) -> None:
        """Learn from what is annotated of this image now."""
        with self._condition:
            self._stale.pop(name, None)
        self._fresh = True
        for kept in (self.memory.learnt, self.memory.drawn):
            kept.pop(name, None)
        try:
            annotation = self._folder.read(name)
            if (annotation.learnt == IGNORE).all():
                return
            maps, features = self.memory.maps_of(name), self.memory.features
            self.memory.learnt[name] = chosen_pixels(maps, annotation.learnt, features, self._upsampling)
            if (annotation.drawn != IGNORE).any():
                self.memory.drawn[name] = chosen_pixels(maps, annotation.drawn, features, self._upsampling)
        except _TROUBLE as error:
            self._refuse(name, error)

    def _has_maps(self, name: str) -> bool:
        """False where they had to be made first, or cannot be made."""
        if name in self.memory.maps or name in self.memory.refused:
            return True
        self._tell({"kind": "reading", "name": name})
        try:
            self.memory.maps_of(name)
        except _TROUBLE as error:
            self._refuse(name, error)
        return False

    def _refuse(self, name: str, error: Exception) -> None:
        self.memory.refused[name] = str(error)
        self._tell({"kind": "refused", "name": name, "why": str(error)})

    def _label(self, name: str) -> Labels | None:
        if self._interpreter is None or name in self.memory.refused:
            return None
        labels = self._interpreter.label([m.float() for m in self.memory.maps_of(name)])
        self.memory.doubt[name] = float(labels.uncertainty[0])
        return labels

    def _show(self, name: str | None) -> None:
        if name is None or (labels := self._label(name)) is None or self._open != name:
            return
        seconds = round(time.monotonic() - self._asked, 3)
        mask, doubt = labels.masks[0], labels.pixel_uncertainty[0]
        self._tell(suggestion(name, mask, doubt, len(self._folder.scheme), seconds=seconds))

    def _look_ahead(self, learns: bool) -> Iterator[None]:
        """Doubt of the images that are not done, those that seem worth most first."""
        states = {listed.name: listed.state for listed in self._folder.listed()}
        todo = [n for n, state in states.items() if state != "done" and n not in self.memory.refused]
        ranked = dict(self.ranking())
        todo = sorted(todo, key=lambda name: -ranked.get(name, math.inf))[:_AHEAD]
        todo = todo if learns else [name for name in todo if name not in self.memory.doubt]
        for left, name in zip(itertools.count(len(todo) - 1, -1), todo, strict=False):
            try:
                self.memory.maps_of(name)
                self._label(name)
            except _TROUBLE as error:
                self._refuse(name, error)
            if left % 10 == 0:
                self._tell({"kind": "ahead", "left": left, "order": self.ranking()})
            yield

    def ranking(self) -> list[tuple[str, float]]:
        """Images that are not done, by how much is to be learnt from each, highest first."""
        states = {listed.name: listed.state for listed in self._folder.listed()}
        pooled = {name: vector for name, vector in self.memory.pooled.items() if name in states}
        todo = [name for name in pooled if states[name] == "untouched"]
        seen = [pooled[name] for name in pooled if states[name] != "untouched"]
        if not todo:
            return []
        channels = self.memory.features.channels
        distance = farthest(np.stack([pooled[name] for name in todo]), np.array(seen).reshape(-1, channels))
        doubt = np.array([self.memory.doubt.get(name, 0.0) for name in todo])
        scores = zip(todo, order(doubt, distance).tolist(), strict=True)
        return sorted(scores, key=lambda pair: -pair[1])

    def _validate(self) -> Iterator[None]:
        while time.monotonic() < self._last_stroke + _PAUSE:
            time.sleep(0.05)
            yield
        pixels, classes = list(self.memory.drawn.values()), len(self._folder.scheme)
        found = cross_validated(pixels, classes, folds=_FOLDS, batches=FULL, stop=self._interrupted)
        if found is not None:
            images = [sum(c in p.labels for p in pixels) for c in range(classes)]
            score = {"mean_iou": found.mean_iou, "iou": found.iou, "images": found.images, "pixels": found.pixels}
            self._tell({"kind": "validation", **score, "images_of_class": images})
        yield

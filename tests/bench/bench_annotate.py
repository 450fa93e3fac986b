"""How many strokes an interpreter needs: annotating with the interpreter watching, against others' ways.

A simulated person annotates the shipped domain. A stroke goes along the middle of the largest region that is labelled
wrongly in the open image, as one curve, with a brush that is a pixel wide (person.py). After a few strokes the person
goes to another image. Every way has the same person, the same images, and strokes of the same length:

    next     this tool, the image that "What next" names
    in order this tool, images in the order of their files
    forest   a random forest on multi-scale filter features (scikit-image, scikit-learn), in the order of files
    masks    whole masks, one image after the other, for this tool's ensemble

After every few strokes each is scored on held-out images. The table says how much was drawn when a score was first
reached. With --more, images of the held-out folder that are not scored can be annotated besides, so that there is
something to choose from. The last line is JSON.

    python tests/bench/bench_annotate.py --strokes 150 --held-out 60
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from measuring import finish, show
from person import next_stroke
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

from deeplab import mean_iou
from generate import Denoiser
from label import IGNORE, Annotations, DenoiserFeatures, Interpreter, load_annotations
from pipelines.annotator.ensemble import Maps, chosen_pixels, trained
from pipelines.annotator.order import farthest, order, pooled
from pipelines.annotator.watcher import FULL
from pipelines.recipe import Recipe

GOALS = (0.5, 0.6)
Row = dict[str, float]


@dataclass
class Domain:
    """Images to annotate and to score by, with what both ways read of them."""

    few: Annotations
    held_out: Annotations
    features: DenoiserFeatures

    @cached_property
    def maps(self) -> dict[str, list[Maps]]:
        return {
            name: [[m.half() for m in self.features.maps(image[None])] for image in images]
            for name, images in (("few", self.few.images), ("held_out", self.held_out.images))
        }

    @cached_property
    def pooled(self) -> np.ndarray:
        return np.stack([pooled(maps) for maps in self.maps["few"]])

    @cached_property
    def filtered(self) -> dict[str, np.ndarray]:
        def of(images: np.ndarray) -> np.ndarray:
            rows = [multiscale_basic_features(i, channel_axis=-1, sigma_min=1, sigma_max=16) for i in images]
            return np.stack(rows)

        return {"few": of(self.few.images), "held_out": of(self.held_out.images)}


@dataclass
class Ensemble:
    """This tool's."""

    domain: Domain
    labels: Any = None

    def fit(self, masks: np.ndarray) -> bool:
        domain, scheme = self.domain, self.domain.few.scheme
        drawn = [i for i, mask in enumerate(masks) if (mask != IGNORE).any()]
        pixels = [chosen_pixels(domain.maps["few"][i], masks[i], domain.features, "bilinear") for i in drawn]
        classifiers = trained(pixels, len(scheme), batches=FULL)
        self.labels = classifiers and Interpreter(domain.features, classifiers, scheme)
        return self.labels is not None

    def predict(self, part: str, index: int) -> tuple[np.ndarray, float]:
        found = self.labels.label([m.float() for m in self.domain.maps[part][index]])
        return found.masks[0], float(found.uncertainty[0])


@dataclass
class Forest:
    """The open equivalent of a pixel classifier on hand-made filters."""

    domain: Domain
    forest: Any = field(default_factory=lambda: RandomForestClassifier(100, n_jobs=-1, random_state=0))

    def fit(self, masks: np.ndarray) -> bool:
        drawn = masks != IGNORE
        if len(np.unique(masks[drawn])) < 2:
            return False
        self.forest.fit(self.domain.filtered["few"][drawn], masks[drawn])
        return True

    def predict(self, part: str, index: int) -> tuple[np.ndarray, float]:
        features = self.domain.filtered[part][index]
        found = self.forest.predict(features.reshape(-1, features.shape[-1]))
        return found.reshape(features.shape[:2]).astype(np.uint8), 0.0


def scored(way: Ensemble | Forest, held_out: Annotations) -> float:
    found = np.stack([way.predict("held_out", i)[0] for i in range(len(held_out.masks))])
    return mean_iou(found, held_out.masks, classes=len(held_out.scheme), ignore_index=IGNORE)


@dataclass(frozen=True)
class Work:
    """How the person goes about it."""

    strokes: int
    longest: int  # pixels of a stroke
    visit: int  # strokes in an image before the next
    every: int  # strokes between scores


def annotate(way: Ensemble | Forest, domain: Domain, work: Work, following: Callable[..., int]) -> list[Row]:
    """A row every few strokes: strokes, drawn pixels, mIoU on the held-out images."""
    truth, rows, seconds, visited = domain.few.masks, [], [], []
    masks = np.full_like(truth, IGNORE)
    fitted = False
    for number in range(1, work.strokes + 1):
        if (number - 1) % work.visit == 0:
            visited.append(following(way if fitted else None, visited))
        image = visited[-1]
        suggested = way.predict("few", image)[0] if fitted else None
        if (stroke := next_stroke(truth[image], suggested, masks[image], work.longest)) is not None:
            stroke.draw(masks[image])
        start = time.perf_counter()
        fitted = way.fit(masks)
        seconds.append(time.perf_counter() - start)
        if fitted and number % work.every == 0:
            row = {"strokes": number, "pixels": int((masks != IGNORE).sum()), "miou": scored(way, domain.held_out)}
            rows.append({**row, "seconds": round(float(np.median(seconds)), 2)})
            print(f"  {number} strokes: {row['pixels']} pixels, mIoU {row['miou']:.3f}", flush=True)
            if row["miou"] >= max(GOALS):
                break
    return rows


def in_order(domain: Domain) -> Callable[..., int]:
    return lambda _way, visited: len(visited) % len(domain.few.masks)


def what_next(domain: Domain) -> Callable[..., int]:
    """As the page does it, among images that were not visited yet; then all over again."""

    def following(way: Ensemble | None, visited: list[int]) -> int:
        count = len(domain.few.masks)
        seen = visited[len(visited) // count * count :]
        todo = [i for i in range(count) if i not in seen]
        doubt = np.array([way.predict("few", i)[1] if way else 0.0 for i in todo])
        return todo[int(order(doubt, farthest(domain.pooled[todo], domain.pooled[seen])).argmax())]

    return following


def whole_masks(domain: Domain) -> list[Row]:
    rows, way = [], Ensemble(domain)
    for count in range(1, len(domain.few.masks) + 1):
        masks = np.full_like(domain.few.masks, IGNORE)
        masks[:count] = domain.few.masks[:count]
        way.fit(masks)
        row = {
            "strokes": 0,
            "pixels": int((masks != IGNORE).sum()),
            "miou": scored(way, domain.held_out),
            "images": count,
        }
        rows.append(row)
        print(f"  {count} masks: {row['pixels']} pixels, mIoU {row['miou']:.3f}", flush=True)
        if row["miou"] >= max(GOALS):
            break
    return rows


def reached(rows: list[Row], goal: float) -> Row | None:
    return next((row for row in rows if row["miou"] >= goal), None)


def opened(scored_images: int, more: int) -> Domain:
    """The shipped images; so many of the held-out ones are scored, and so many of the others annotated, too."""
    recipe = Recipe.load("demo")
    denoiser, settings = Denoiser.from_pretrained(recipe.paths.denoiser), recipe.interpreter
    features = DenoiserFeatures(denoiser, steps=settings.steps, blocks=settings.blocks)
    assert recipe.paths.annotated
    assert recipe.paths.held_out
    few, held_out = (load_annotations(f, (64, 64)) for f in (recipe.paths.annotated, recipe.paths.held_out))
    others = slice(scored_images, scored_images + more)
    images = np.concatenate([few.images, held_out.images[others]])
    masks = np.concatenate([few.masks, held_out.masks[others]])
    to_score = held_out.images[:scored_images], held_out.masks[:scored_images]
    domain = Domain(
        Annotations([*few.names, *held_out.names[others]], images, masks, few.scheme),
        Annotations(held_out.names[:scored_images], *to_score, few.scheme),
        features,
    )
    with torch.no_grad():
        _ = domain.maps
    return domain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=int, default=150)
    parser.add_argument("--longest", type=int, default=6, help="pixels of a stroke")
    parser.add_argument("--visit", type=int, default=5, help="strokes in an image before the person goes on")
    parser.add_argument("--every", type=int, default=5, help="strokes between scores")
    parser.add_argument("--held-out", type=int, default=60, help="images that are scored")
    parser.add_argument("--more", type=int, default=0, help="held-out images that are not scored, to be annotated")
    given = parser.parse_args()
    domain = opened(given.held_out, given.more)
    work, found = Work(given.strokes, given.longest, given.visit, given.every), {}
    for name, way, following in (
        ("next", Ensemble(domain), what_next(domain)),
        ("in order", Ensemble(domain), in_order(domain)),
        ("forest", Forest(domain), in_order(domain)),
    ):
        print(name, flush=True)
        found[name] = annotate(way, domain, work, following)
    print("masks", flush=True)
    found["masks"] = whole_masks(domain)
    head = ["way", *(f"{what} until {goal:.2f}" for goal in GOALS for what in ("strokes", "pixels")), "last mIoU"]
    table = [head]
    for name, rows in found.items():
        hits = [reached(rows, goal) for goal in GOALS]
        cells = [str(hit[what]) if hit else "not reached" for hit in hits for what in ("strokes", "pixels")]
        table.append([name, *cells, f"{rows[-1]['miou']:.3f}"])
    show("Drawn until a mIoU on the held-out images", table)
    finish("annotate", "cpu", vars(given), {"ways": found})


if __name__ == "__main__":
    main()

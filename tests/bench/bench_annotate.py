"""How many strokes an interpreter needs: annotating with the interpreter watching, against others' ways.

A simulated person annotates the shipped domain's 20 images. A stroke goes along the medial line of the largest region
that is labelled wrongly in the open image, with a brush of three pixels that stays inside what it labels. After a few
strokes the person goes to another image. Every way has the same person:

    next     this tool, the image of which most is to be learnt comes next
    in order this tool, images in the order of their files
    forest   a random forest on multi-scale filter features (scikit-image, scikit-learn), in the order of files
    masks    whole masks, one image after the other, for this tool's ensemble

After every few strokes each is scored on held-out images. The table says how much was drawn when a score was first
reached. The last line is JSON.

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
from scipy import ndimage
from skimage.feature import multiscale_basic_features
from skimage.morphology import skeletonize
from sklearn.ensemble import RandomForestClassifier

from deeplab import mean_iou
from generate import Denoiser
from label import Annotations, DenoiserFeatures, load_annotations
from pipelines.annotator.ensemble import Maps, chosen_pixels, farthest, interpreter, order, trained
from pipelines.annotator.watcher import FULL
from pipelines.recipe import Recipe

GOALS = (0.5, 0.6)


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
        return np.stack(
            [np.concatenate([m.float().mean((0, 2, 3)).numpy() for m in maps]) for maps in self.maps["few"]]
        )

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
        drawn = [i for i, mask in enumerate(masks) if (mask != 255).any()]
        pixels = [chosen_pixels(domain.maps["few"][i], masks[i], domain.features, "bilinear") for i in drawn]
        classifiers = trained(pixels, len(scheme), batches=FULL)
        self.labels = classifiers and interpreter(classifiers, domain.features, scheme, "bilinear")
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
        drawn = masks != 255
        if len(np.unique(masks[drawn])) < 2:
            return False
        self.forest.fit(self.domain.filtered["few"][drawn], masks[drawn])
        return True

    def predict(self, part: str, index: int) -> tuple[np.ndarray, float]:
        features = self.domain.filtered[part][index]
        found = self.forest.predict(features.reshape(-1, features.shape[-1]))
        return found.reshape(features.shape[:2]).astype(np.uint8), 0.0


def stroke(truth: np.ndarray, predicted: np.ndarray | None, drawn: np.ndarray) -> np.ndarray:
    """Where the person draws: along the middle of the largest region of one class that is wrong; nowhere if none is."""
    wrong = drawn == 255 if predicted is None else (predicted != truth) & (drawn == 255)
    best, size = np.zeros_like(wrong), 0
    for label in np.unique(truth):
        found: Any = ndimage.label(wrong & (truth == label))
        regions, count = found
        sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
        if count and sizes.max() > size:
            best, size = regions == sizes.argmax() + 1, int(sizes.max())
    if not size:
        return best
    label = truth[best][0]
    return ndimage.binary_dilation(skeletonize(best), np.ones((3, 3), bool)) & (truth == label)


def scored(way: Ensemble | Forest, held_out: Annotations) -> float:
    found = np.stack([way.predict("held_out", i)[0] for i in range(len(held_out.masks))])
    return mean_iou(found, held_out.masks, classes=len(held_out.scheme), ignore_index=255)


def annotate(
    way: Ensemble | Forest, domain: Domain, strokes: int, visit: int, every: int, following: Callable[..., int]
) -> list[dict[str, float]]:
    """One row every few strokes: strokes, drawn pixels, mIoU on the held-out images."""
    masks, rows, seconds = np.full_like(domain.few.masks, 255), [], []
    order_of_visits: list[int] = []
    fitted, image = False, 0
    for number in range(1, strokes + 1):
        if (number - 1) % visit == 0:
            image = following(way if fitted else None, order_of_visits)
            order_of_visits.append(image)
        predicted = way.predict("few", image)[0] if fitted else None
        place = stroke(domain.few.masks[image], predicted, masks[image])
        masks[image][place] = domain.few.masks[image][place]
        start = time.perf_counter()
        fitted = way.fit(masks)
        seconds.append(time.perf_counter() - start)
        if fitted and number % every == 0:
            row = {"strokes": number, "pixels": int((masks != 255).sum()), "miou": scored(way, domain.held_out)}
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


def whole_masks(domain: Domain) -> list[dict[str, float]]:
    rows, way = [], Ensemble(domain)
    for count in range(1, len(domain.few.masks) + 1):
        masks = np.full_like(domain.few.masks, 255)
        masks[:count] = domain.few.masks[:count]
        way.fit(masks)
        row = {"strokes": 0, "pixels": int((masks != 255).sum()), "miou": scored(way, domain.held_out), "images": count}
        rows.append(row)
        print(f"  {count} masks: {row['pixels']} pixels, mIoU {row['miou']:.3f}", flush=True)
        if row["miou"] >= max(GOALS):
            break
    return rows


def reached(rows: list[dict[str, float]], goal: float) -> dict[str, float] | None:
    return next((row for row in rows if row["miou"] >= goal), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=int, default=150)
    parser.add_argument("--visit", type=int, default=5, help="strokes in an image before the person goes on")
    parser.add_argument("--every", type=int, default=5, help="strokes between scores")
    parser.add_argument("--held-out", type=int, default=60, help="images that are scored")
    given = parser.parse_args()
    recipe = Recipe.load("demo")
    denoiser, settings = Denoiser.from_pretrained(recipe.paths.denoiser), recipe.interpreter
    features = DenoiserFeatures(denoiser, steps=settings.steps, blocks=settings.blocks)
    assert recipe.paths.annotated
    assert recipe.paths.held_out
    few, held_out = (load_annotations(f, (64, 64)) for f in (recipe.paths.annotated, recipe.paths.held_out))
    cut = Annotations(held_out.names, held_out.images[: given.held_out], held_out.masks[: given.held_out], few.scheme)
    with torch.no_grad():
        _ = (domain := Domain(few, cut, features)).maps
    amounts, found = (given.strokes, given.visit, given.every), {}
    for name, way, following in (
        ("next", Ensemble(domain), what_next(domain)),
        ("in order", Ensemble(domain), in_order(domain)),
        ("forest", Forest(domain), in_order(domain)),
    ):
        print(name, flush=True)
        found[name] = annotate(way, domain, *amounts, following)
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

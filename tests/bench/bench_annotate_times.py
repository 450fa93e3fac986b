"""How long a person waits after a stroke: from the mask that is written to the suggestion that follows.

Regime: the maps of the open image are in memory, as they are once an image was read. At 64 px the demo's model, 672
features of a pixel; at 256 px maps of the published model's sizes (8,448 features), filled with noise, since their
values cost the same. A stroke lies in one of four images, and a person waits for the first suggestion, of 20 batches;
the better one, of 60, comes after it. Limits: 1.5 s at 64 px, 5 s at 256 px, on 2 cores.

CPU seconds are those of all threads of the process, the steadier figure on a busy machine. The last line is JSON.

    python tests/bench/bench_annotate_times.py --strokes 20
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_label import MapsInHand
from measuring import finish, show
from PIL import Image

from generate import Denoiser
from label import DenoiserFeatures, FeatureSource, load_annotations
from pipelines.annotator.folder import AnnotatedFolder
from pipelines.annotator.strokes import DRAWN, Annotation
from pipelines.annotator.watcher import Watcher
from pipelines.recipe import Recipe

LIMITS = {64: 1.5, 256: 5.0}
IMAGES = 4


def demo_features() -> FeatureSource:
    recipe = Recipe.load("demo")
    settings = recipe.interpreter
    denoiser = Denoiser.from_pretrained(recipe.paths.denoiser)
    return DenoiserFeatures(denoiser, steps=settings.steps, blocks=settings.blocks)


SOURCES: dict[int, Callable[[], FeatureSource]] = {64: demo_features, 256: lambda: MapsInHand(256, "denoiser")}


def measured(side: int, strokes: int) -> list[dict[str, float]]:
    """Seconds of each stroke: wall and CPU until the first suggestion, and wall until the better one."""
    annotated = Recipe.load("demo").paths.annotated
    assert annotated
    few = load_annotations(annotated, (side, side))
    with tempfile.TemporaryDirectory() as place:
        for number, image in enumerate(few.images[:IMAGES]):
            Image.fromarray(image).save(Path(place) / f"{number}.png")
        told: list[dict[str, Any]] = []
        folder = AnnotatedFolder(Path(place), few.scheme)
        watcher = Watcher(folder, SOURCES[side](), told.append)
        watching = threading.Thread(target=watcher.run)
        watching.start()
        try:
            for name in folder.names:
                watcher.opened(name)
                wait(lambda name=name: name in watcher.memory.maps)
            return [waited(watcher, folder, few.masks, number, told) for number in range(strokes)]
        finally:
            watcher.ends_well()
            watching.join()


def waited(
    watcher: Watcher, folder: AnnotatedFolder, truth: np.ndarray, number: int, told: list[dict[str, Any]]
) -> dict[str, float]:
    """A stroke across an image, lower each time that the image's turn comes."""
    which = number % IMAGES
    name, row = folder.names[which], (len(truth[0]) // 3 + 3 * (number // IMAGES)) % len(truth[0])
    before = folder.read(name)
    mask, origin = before.mask.copy(), before.origin.copy()
    mask[row], origin[row] = truth[which][row], DRAWN
    folder.save(name, Annotation(mask, origin), based_on=before.revision)
    seen, start, start_cpu = len(told), time.perf_counter(), time.process_time()

    def suggestions() -> int:
        return sum(m["kind"] == "suggestion" and m["name"] == name for m in told[seen:])

    watcher.changed(name)
    wait(lambda: suggestions() > 0)
    first, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    wait(lambda: suggestions() > 1)
    return {"first": first, "cpu": cpu, "better": time.perf_counter() - start}


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.002)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=int, default=20, help="of each size; the first four are not counted")
    parser.add_argument("--sides", type=int, nargs="+", choices=list(SOURCES), default=list(SOURCES))
    given = parser.parse_args()
    table = [["side", "first suggestion, s", "worst", "its CPU s", "worst", "better one, s", "limit, s"]]
    figures = {}
    for side in given.sides:
        rows = measured(side, given.strokes + IMAGES)[IMAGES:]
        found = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        middle, worst = ({key: float(f(v)) for key, v in found.items()} for f in (np.median, np.max))
        figures[side] = {"median": middle, "worst": worst}
        cells = [middle["first"], worst["first"], middle["cpu"], worst["cpu"], middle["better"]]
        table.append([str(side), *(f"{value:.2f}" for value in cells), f"{LIMITS[side]}"])
    show("After a stroke, maps in memory", table)
    finish("annotate times", "cpu", vars(given), {"sides": figures})


if __name__ == "__main__":
    main()

"""What it gains to see an image more than once: an interpreter's mIoU on held-out images, by noises and the mirror.

Regime: the shipped domain and its recipe; each row is fitted on the annotated images and scored on the held-out ones,
once for each seed of the members. Seconds are those of the features of one image, which is what labelling pays.

    python tests/bench/bench_views.py [--seeds 3]
"""

import argparse
import time
from dataclasses import replace
from statistics import mean, stdev

import measuring

from label import Interpreter
from pipelines import Recipe
from pipelines.annotated import annotated_few, open_annotations
from pipelines.stages.evaluate import predicted_by_interpreter, score
from pipelines.units.devices import device
from pipelines.units.models import open_features

ROWS = {
    "once": (),
    "4 noises": ("interpreter.noises=4",),
    "mirrored": ("interpreter.mirrored=true",),
    "4 noises, mirrored": ("interpreter.noises=4", "interpreter.mirrored=true"),
}


def measured(settings: tuple[str, ...], seed: int) -> tuple[float, float]:
    """mIoU on the held-out images, and seconds of the features of one image."""
    recipe = Recipe.load("demo", settings)
    features = open_features(recipe, device())
    assert recipe.paths.held_out
    few, held_out = (
        annotated_few(recipe, features.image_size),
        open_annotations(recipe, recipe.paths.held_out, features.image_size),
    )
    fitting = replace(recipe.interpreter.fitting, seed=seed)
    interpreter = Interpreter.fit(
        features, few.images, few.masks, classes=few.scheme, settings=fitting, device=device()
    )
    masks, start = predicted_by_interpreter(interpreter, held_out), time.perf_counter()
    for image in held_out.images[:8]:
        features.maps(image[None])
    return score(masks, held_out).mean_iou, (time.perf_counter() - start) / 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ROWS}
    for seed in range(options.seeds):
        for name, settings in ROWS.items():
            found[name].append(measured(settings, seed))
            print(
                f"{name}, seed {seed}: mIoU {found[name][-1][0]:.4f}, {found[name][-1][1]:.3f} s an image", flush=True
            )
    rows = [["seen", "mIoU", "deviation", "s an image"]]
    for name, values in found.items():
        scores, seconds = zip(*values, strict=True)
        spread = stdev(scores) if len(scores) > 1 else 0.0
        rows.append([name, f"{mean(scores):.4f}", f"{spread:.4f}", f"{min(seconds):.3f}"])
    measuring.show(measuring.hardware(device()), rows)


if __name__ == "__main__":
    main()

"""Seconds of a labelled photograph against those of a labelled sample, on the demo's models.

Regime: a sample costs `steps` calls of the diffusion model's network for its image and three for its labels, a
photograph the three alone, and its file is read, compared with its sha256 and decoded. Units of both kinds are made in
turn, whole: images, labels, filter, encoding, commit. Shares are of the process's CPU seconds, which other work on the
machine changes least. Before its first unit a dataset of photographs has each file read
once, which is the row "listed". The photographs are drawn noise of `side` pixels, as JPEG, unless a folder is named.

    python tests/bench/bench_photographs.py [--photographs FOLDER --unit 40 --batch 20 --rounds 3 --side 512]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import measuring
import numpy as np
import torch
from PIL import Image

from pipelines import Recipe
from pipelines.dataset.photographs import remember
from pipelines.stages.fit import fit
from pipelines.units.builder import build, planned


def drawn(folder: Path, count: int, side: int) -> Path:
    """Photographs of smooth noise, which JPEG compresses about as well as real ones."""
    random, smallest = np.random.default_rng(0), max(1, side // 8)
    folder.mkdir()
    for number in range(count):
        noise = Image.fromarray(random.integers(0, 256, (smallest, smallest, 3), dtype=np.uint8))
        noise.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{number:06d}.jpg", quality=90)
    return folder


def recipe_of(out: Path, photographs: Path, options: argparse.Namespace) -> Recipe:
    settings = {
        "paths.out": out,
        "paths.photographs": photographs,
        "interpreter.setting": "fast",
        "interpreter.members": 10,
        "generate.samples": options.unit,
        "generate.photographs": options.unit,
        "generate.unit_size": options.unit,
        "generate.batch_size": options.batch,
        "generate.steps": options.steps,
        "generate.threads": torch.get_num_threads(),
        "generate.images": "both",
    }
    return Recipe.load("demo", tuple(f"{key}={value}" for key, value in settings.items()))


def makers(recipe: Recipe, device: str) -> dict[str, Callable[[], dict[str, float]]]:
    """What makes the first unit of each of the recipe's datasets, and returns its seconds by phase."""
    names = {"denoiser": "a sample", "photographs": "a photograph"}
    makes = {names[each.generate.source.images]: build(planned(each), device) for each in recipe.by_dataset()}
    return {name: partial(lambda make: make(0).seconds, make) for name, make in makes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, help="a folder of them; otherwise they are drawn")
    parser.add_argument("--unit", type=int, default=40)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=512, help="pixels of drawn photographs")
    parser.add_argument("--device", default=measuring.default_device())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photographs = options.photographs or drawn(folder / "photographs", options.unit, options.side)
        recipe = recipe_of(folder / "out", photographs, options)
        fit(recipe)
        start = time.perf_counter()
        listed = len(remember(folder / "listed", photographs, options.unit))
        of_list = (time.perf_counter() - start) / listed
        makes = makers(recipe, options.device)
        for make in makes.values():
            make()  # the first unit is slower than the rest
        timed = measuring.alternate(makes, options.rounds, options.device)
    rows, figures = [["", "s an image", "CPU s an image", "of a sample's CPU s"]], {}
    for name, way in timed.items():
        each, share = way.best / options.unit, way.best_cpu / timed["a sample"].best_cpu
        rows.append([name, f"{each:.4f}", f"{way.best_cpu / options.unit:.4f}", f"{share:.1%}"])
        figures[name] = {"s_an_image": each, "cpu_share": share, "phases": way.result}
        rows += [[f"- {phase}", f"{seconds / options.unit:.4f}", "", ""] for phase, seconds in way.result.items()]
    rows.append(["listed, once", f"{of_list:.4f}", "", ""])
    measuring.show(f"{measuring.hardware(options.device)}; {options.steps} steps", rows)
    measuring.finish("photographs", options.device, vars(options) | {"photographs": str(photographs)}, figures)


if __name__ == "__main__":
    main()

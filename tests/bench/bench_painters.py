"""What fewer steps of a painter cost: mIoU of the network that learns from its images, and seconds an image.

    python tests/bench/bench_painters.py distilled/model out --rows denoiser-20 consistency-4

Each row is the demo's recipe with another painter: its interpreter labels 320 images, the network learns from them, and
is scored on the 120 held-out faces. Seconds are those of the processor, on one thread, so that other work on the
machine does not count. The last line of a row is JSON.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipelines import Recipe
from pipelines.annotated import open_annotations
from pipelines.dataset.inventory import take_inventory
from pipelines.folders import interpreter_folder, network_folder, sources
from pipelines.stages.evaluate import predicted_by_network, score
from pipelines.stages.fit import fit
from pipelines.stages.train import train
from pipelines.units.builder import build, planned
from pipelines.units.images import painted_images

ROWS = {
    "denoiser-20": (),
    "denoiser-4": ("generate.steps=4",),
    "consistency-4": ("painter.ts=[0, 17, 22, 26]",),
    "consistency-2": ("painter.ts=[0, 22]",),
    "consistency-1": ("painter.ts=[0]",),
}
TIMED, SHEET = 20, 4  # images that are timed; rows and columns of the sheet


def measured(name: str, model: Path, out: Path, settings: tuple[str, ...]) -> dict[str, Any]:
    """The row, made in out/name."""
    painter = () if name.startswith("denoiser") else (f'paths.painter="{model}"', 'painter.kind="consistency"')
    told = (f'paths.out="{out / name}"', "train.baseline=false", *painter, *ROWS[name], *settings)
    recipe = Recipe.load("demo", told)
    shared = recipe.model_copy(update={"paths": recipe.paths.model_copy(update={"out": out / "shared"})})
    if not interpreter_folder(shared).is_dir():
        fit(shared)
    shutil.copytree(interpreter_folder(shared), interpreter_folder(recipe), dirs_exist_ok=True)
    seconds = seconds_an_image(recipe, out / f"{name}.png")
    plan = planned(recipe)
    if missing := take_inventory(plan.folder).missing(plan.recipe.generate.units):
        make = build(plan, "cpu")
        for unit in missing:
            make(unit)
    train(recipe)
    assert recipe.paths.held_out is not None
    held_out = open_annotations(recipe, recipe.paths.held_out, (64, 64))
    masks = predicted_by_network(network_folder(recipe, sources(recipe)[0], recipe.train.seeds[0]), held_out)
    return {"row": name, "mean_iou": score(masks, held_out).mean_iou, "cpu_seconds_an_image": seconds}


def seconds_an_image(recipe: Recipe, sheet: Path) -> float:
    """Of the processor, of painting alone; the images are laid on a sheet."""
    source = painted_images(recipe, "cpu")
    list(source.images(range(2), 0, 2))  # what is done once
    start = time.process_time()
    list(source.images(range(TIMED), 0, recipe.generate.batch))
    seconds = (time.process_time() - start) / TIMED
    images = np.concatenate(list(source.images(range(SHEET**2), 0, SHEET)))
    rows = images.reshape(SHEET, SHEET, *images.shape[1:]).swapaxes(1, 2)
    Image.fromarray(rows.reshape(SHEET * images.shape[1], -1, 3)).save(sheet)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a distilled consistency model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--set", action="append", default=[], help="a key of the recipe, as train.steps=150")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.rows:
        print(json.dumps(measured(name, given.model.resolve(), given.out.resolve(), tuple(given.set))), flush=True)


if __name__ == "__main__":
    main()

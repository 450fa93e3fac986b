"""The same interpreter on other eyes: mIoU on the shipped held-out faces, by feature source and seed.

Regime: 20 annotated and 120 held-out faces of 64x64; the setting "fast" with 10 members for all sources, seeds 0, 1, 2.
The denoiser is the shipped one with the demo's steps and blocks. Encoders are those that train_mae.py and train_swav.py
write, mae.pth, mae-untrained.pth and swav.pth in ENCODERS. The early denoiser, of as much compute as they, is the one
that was shipped first: `git archive 1b08200 pipelines/demo/model | tar x -C ENCODERS --strip-components=2`. A row
whose file is not there is left out. Joined sources are scaled to a like spread over the annotated faces. A measurement
is kept in OUT, so that what was stopped goes on. The last line is JSON.

    python tests/bench/bench_sources.py --out encoders/cells [--encoders encoders]
"""

import argparse
import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import pipelines
from deeplab import mean_iou
from generate import Denoiser
from label import (
    FITTINGS,
    IGNORE,
    DenoiserFeatures,
    FeatureSource,
    Interpreter,
    JointFeatures,
    MaeFeatures,
    TimmFeatures,
    load_annotations,
)
from pipelines.study.controls import RawPixels, untrained

DEMO = Path(pipelines.__file__).parent / "demo"
SIZE = (64, 64)
FEW, HELD_OUT = (load_annotations(DEMO / name, SIZE) for name in ("annotated", "held_out"))
SETTINGS = replace(FITTINGS["fast"], min_class_pixels=1)
STEPS, BLOCKS = (50, 150, 250), (3, 4, 5, 6, 7)
BATCH = 10


class Remembered:
    """A source that looks at an image once, and keeps its maps in half precision for the next seed."""

    def __init__(self, source: FeatureSource) -> None:
        self.source, self.image_size = source, source.image_size
        self.channels, self.digest = source.channels, source.digest
        self._known: dict[bytes, list[Tensor]] = {}

    def maps(self, images: np.ndarray) -> list[Tensor]:
        keys = [hashlib.sha256(image.tobytes()).digest() for image in images]
        if any(key not in self._known for key in keys):
            maps = [native.half() for native in self.source.maps(images)]
            self._known |= {key: [native[i] for native in maps] for i, key in enumerate(keys)}
        by_image = (self._known[key] for key in keys)
        return [torch.stack(native).float() for native in zip(*by_image, strict=True)]

    def save_pretrained(self, folder: Path) -> None:
        raise NotImplementedError("a benchmark saves nothing")


def rows(encoders: Path) -> Iterator[tuple[str, FeatureSource]]:
    """Each source by its name in the table, opened when its turn comes."""
    painted = DenoiserFeatures(Denoiser.from_pretrained(DEMO / "model"), steps=STEPS, blocks=BLOCKS)
    pixels, raw, mae = RawPixels(SIZE), encoders / "mae-untrained.pth", encoders / "mae.pth"
    yield "denoiser, shipped", painted
    if (early := encoders / "model").is_dir():
        yield "denoiser, early", DenoiserFeatures(Denoiser.from_pretrained(early), steps=STEPS, blocks=BLOCKS)
    if mae.is_file():
        yield "MAE", _mae(mae)
        yield "denoiser + MAE", _joined(painted, _mae(mae))
    yield "raw pixels", pixels
    yield "denoiser, untrained", DenoiserFeatures(untrained(painted.denoiser, 0), steps=STEPS, blocks=BLOCKS)
    if raw.is_file():
        yield "MAE, untrained", _mae(raw)
    if (swav := encoders / "swav.pth").is_file():
        yield "SwAV", _resnet(swav)
        yield "denoiser + SwAV", _joined(painted, _resnet(swav))
    yield "SwAV's network, untrained", _resnet(None)
    yield "denoiser + raw pixels", _joined(painted, pixels)
    if mae.is_file() and swav.is_file():
        yield "MAE + SwAV", _joined(_mae(mae), _resnet(swav))
        yield "denoiser + MAE + SwAV", _joined(painted, _mae(mae), _resnet(swav))


def _mae(path: Path) -> FeatureSource:
    return MaeFeatures.from_pretrained(path, blocks=6, heads=4, image_size=SIZE)


def _resnet(weights: Path | None) -> FeatureSource:
    return TimmFeatures("resnet10t", layers=(0, 1, 2, 3), weights=weights, image_size=SIZE)


def _joined(*sources: FeatureSource) -> FeatureSource:
    return JointFeatures.scaled(sources, FEW.images)


def measured(source: FeatureSource, seed: int) -> float:
    """Fit on the annotated faces, label the held-out ones."""
    interpreter = Interpreter.fit(
        source, FEW.images, FEW.masks, classes=FEW.scheme, settings=replace(SETTINGS, seed=seed)
    )
    starts = range(0, len(HELD_OUT.images), BATCH)
    masks = np.concatenate([interpreter.predict(HELD_OUT.images[i : i + BATCH]).masks for i in starts])
    return mean_iou(masks, HELD_OUT.masks, classes=len(FEW.scheme), ignore_index=IGNORE)


def scores(name: str, source: FeatureSource, seeds: list[int], out: Path) -> Iterator[float]:
    """Of each seed, from the file where it is kept, or measured now."""
    remembered = Remembered(source)
    for seed in seeds:
        words = "-".join(re.findall(r"\w+", name))
        cell = out / f"{words}-seed{seed}-{source.digest[:8]}.json"
        if not cell.is_file():
            begun = time.process_time()
            score = measured(remembered, seed)
            print(f"{name}, seed {seed}: {score:.4f} ({time.process_time() - begun:.0f} s of one thread)", flush=True)
            cell.parent.mkdir(parents=True, exist_ok=True)
            cell.write_text(json.dumps({"mean_iou": score, "channels": source.channels}) + "\n")
        yield json.loads(cell.read_text())["mean_iou"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoders", type=Path, help="unset: the folder of OUT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = {}
    for name, source in rows(options.encoders or options.out.resolve().parent):
        found = list(scores(name, source, options.seeds, options.out))
        table[name] = {"channels": source.channels, "mean_iou": found}
        print(f"| {name} | {source.channels} | {np.mean(found):.3f} ± {np.std(found):.3f} |", flush=True)
    print(json.dumps(table))


if __name__ == "__main__":
    main()

"""MAE's published size: a ViT-L with patches of 8 opened from its file, and an image of 256x256 labelled through it.

Regime: 303 M weights drawn at random, 1.2 GB in float32 as the published file has them; 24 blocks over 1,025 tokens;
10 members, 21 classes on 12,288 channels. The file is mapped, not read: opening takes hardly more memory than the file
has bytes. The first run writes the file, the next one measures.

    python tests/bench/bench_mae.py [--file mae.pth]
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import measuring
import numpy as np
import psutil
import torch
from networks import random_classifiers
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from label import Interpreter, MaeFeatures, Scheme
from pipelines.units.devices import set_up

CLASSES, MEMBERS = 21, 10


def write(path: Path) -> None:
    """The encoder of the published MAE, with weights by a rule."""
    with torch.device("meta"):
        norm = partial(nn.LayerNorm, eps=1e-6)
        network = VisionTransformer(256, 8, embed_dim=1024, depth=24, num_heads=16, num_classes=0, norm_layer=norm)
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.randn(tensor.shape, generator=generator) * (0.02 if tensor.ndim > 1 else 0.1)
        for key, tensor in network.state_dict().items()
    }
    state |= {key: 1 + tensor for key, tensor in state.items() if "norm" in key and key.endswith("weight")}
    torch.save({"model": state}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, default=Path(tempfile.gettempdir()) / "mae-vitl8-by-rule.pth")
    options = parser.parse_args()
    if not options.file.is_file():
        write(options.file)
        print(f"wrote {options.file}; run it again, so that its memory is not counted")
        return
    set_up("cpu")
    process, size = psutil.Process(), options.file.stat().st_size
    before, start = process.memory_info().rss, time.perf_counter()
    source = MaeFeatures.from_pretrained(options.file)
    opened_seconds, opened = time.perf_counter() - start, measuring.peak_memory()
    classifiers = random_classifiers(MEMBERS, source.channels, CLASSES)
    interpreter = Interpreter(source, classifiers, Scheme(tuple(f"class {i}" for i in range(CLASSES))))
    image = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    start = time.perf_counter()
    maps = source.maps(image)
    read = time.perf_counter() - start
    start = time.perf_counter()
    labels = interpreter.label(maps)
    labelled = time.perf_counter() - start
    assert labels.masks.shape == (1, 256, 256)
    memory = {"file_bytes": size, "opened_bytes": opened - before, "times_its_file": (opened - before) / size}
    rows = [
        ["opened, s", "memory, times its file", "features, s", "classifiers, s", "highest memory, GB"],
        [
            f"{opened_seconds:.2f}",
            f"{memory['times_its_file']:.2f}",
            f"{read:.2f}",
            f"{labelled:.2f}",
            f"{measuring.peak_memory() / 1e9:.2f}",
        ],
    ]
    measuring.show(measuring.hardware("cpu"), rows)
    measuring.finish(
        "mae", "cpu", {"file": str(options.file)}, {**memory, "features_s": read, "classifiers_s": labelled}
    )


if __name__ == "__main__":
    main()

"""A training step of the demo's network with malloc as it comes and as `set_up` has it, each in processes of its own.

Regime: batches of 16 images of 64x64 pixels, enlarged twice; five steps before those that are measured. The two take
turns. Pages are those that the kernel handed out for a step.

    python tests/bench/bench_memory.py [--threads 1 --steps 20 --rounds 3]
"""

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace

import measuring
import numpy as np
import torch

import deeplab
from pipelines import Recipe
from pipelines.units.devices import set_up

CLASSES, WARM_UP = 11, 5
HOW = ("as it comes", "set up")


def measure(how: str, steps: int) -> dict[str, float]:
    """Of this process: milliseconds and pages of a step, and its highest memory in MiB."""
    if how == "set up":
        set_up("cpu")
    settings, rng = Recipe.load("demo").train, np.random.default_rng(0)
    shape = (settings.batch_size, 64, 64)
    batch = rng.integers(0, 256, (*shape, 3), dtype=np.uint8), rng.integers(0, CLASSES, shape, dtype=np.uint8)
    network = deeplab.build(CLASSES, settings.network)
    optimisation = replace(settings.optimisation, steps=WARM_UP + steps)
    training = deeplab.fit(network, itertools.repeat(batch), optimisation)
    for _ in itertools.islice(training, WARM_UP):
        pass
    start, pages = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in training:
        pass
    seconds = time.perf_counter() - start
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages
    return {"ms": 1000 * seconds / steps, "pages": pages / steps, "MiB": measuring.peak_memory() / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="that are measured, of each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=HOW, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(measure(options.one, options.steps)))
        return
    found: dict[str, list[dict[str, float]]] = {how: [] for how in HOW}
    for _, how in itertools.product(range(options.rounds), HOW):
        command = [sys.executable, __file__, *sys.argv[1:], "--one", how]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[how].append(json.loads(told.stdout.splitlines()[-1]))
    rows = [["malloc", "ms a step", "pages a step", "highest memory, MiB"]]
    medians = {how: {key: statistics.median(each[key] for each in of) for key in of[0]} for how, of in found.items()}
    rows += [[how, f"{of['ms']:.0f}", f"{of['pages']:.0f}", f"{of['MiB']:.0f}"] for how, of in medians.items()]
    measuring.show(measuring.hardware("cpu"), rows)
    measuring.finish("memory", "cpu", {"threads": options.threads, "rounds": options.rounds}, medians)


if __name__ == "__main__":
    main()

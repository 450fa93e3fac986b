"""A whole unit: sampled, labelled, filtered, encoded and committed, against the bare network.

Regime: the network's calls bound everything; labelling, encoding and writing should hide behind them or be small. The
ceiling is the time that the same calls take with nothing between them: the solver's steps, and for labelling one
decoder pass of all feature steps. With --published the LSUN UNet and 10 members of the published sizes, weights
drawn at random.

    python tests/bench/bench_unit.py [--published --size 256 --dtype bfloat16] [--unit 40 --batch 20 --steps 20]
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import measuring
import networks
import numpy as np
import torch

from label import DenoiserFeatures, Interpreter, Scheme
from pipelines.dataset.manifest import claim
from pipelines.sections.generate import GenerateSection
from pipelines.units.devices import set_up
from pipelines.units.identity import describe
from pipelines.units.images import denoiser_images
from pipelines.units.models import Models
from pipelines.units.unit import make_unit


def models_of(options: argparse.Namespace) -> Models:
    """The shipped model, or the published shapes; the members' weights are drawn at random."""
    denoiser = networks.opened(options)
    features = DenoiserFeatures(denoiser) if options.published else DenoiserFeatures(denoiser, blocks=[3, 4, 5, 6, 7])
    if options.compile:
        denoiser.compile(options.compile)
    classifiers = networks.random_classifiers(10, features.channels, options.classes).to(options.device)
    scheme = Scheme(tuple(f"class {i}" for i in range(options.classes)))
    return Models(denoiser, Interpreter(features, classifiers, scheme))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    networks.add_options(parser)
    parser.add_argument("--unit", type=int, default=40)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    set_up(options.device)
    models = models_of(options)
    features = models.interpreter.features
    assert isinstance(features, DenoiserFeatures)
    denoiser = features.denoiser
    settings = GenerateSection(
        samples=options.unit,
        unit_size=options.unit,
        batch_size=options.batch,
        steps=options.steps,
        threads=torch.get_num_threads(),
    )
    dataset = describe(models.identity, settings)
    x = torch.randn(options.batch, *denoiser.image_shape, device=options.device)
    t = torch.full((options.batch,), 500, device=options.device)
    blank = np.zeros((options.batch, *features.image_size, 3), np.uint8)
    batches = -(-options.unit // options.batch)

    def bare() -> None:
        for _ in range(batches):
            for _ in range(options.steps):
                denoiser(x, t)
            features.maps(blank)

    with tempfile.TemporaryDirectory() as folder:
        claim(Path(folder), dataset)
        source, interpreter = denoiser_images(denoiser, settings), models.interpreter
        make = partial(
            make_unit, source=source, interpreter=interpreter, settings=settings, dataset=dataset, folder=Path(folder)
        )

        def unit() -> dict[str, float]:
            return make(0, options.batch).seconds

        bare()
        timed = measuring.alternate({"unit": unit, "bare": bare}, options.rounds, options.device)
    rows = [["", "s an image", "CPU s an image", "share of the bare rate"]]
    for name, way in timed.items():
        share = f"{timed['bare'].best / way.best:.0%}"
        rows.append([name, f"{way.best / options.unit:.4f}", f"{way.best_cpu / options.unit:.4f}", share])
    for phase, seconds in timed["unit"].result.items():
        rows.append([f"of it {phase}", f"{seconds / options.unit:.4f}", "", ""])
    measuring.show(f"{measuring.hardware(options.device)}, {options.dtype}, {options.steps} steps", rows)
    figures = {f"{name}_s": way.best / options.unit for name, way in timed.items()}
    shares = {"share": timed["bare"].best / timed["unit"].best, "phases": timed["unit"].result}
    measuring.finish("unit", options.device, vars(options), {**figures, **shares})


if __name__ == "__main__":
    main()

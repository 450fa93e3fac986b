"""How fast and how well a diffusion model is trained: `python tests/bench/bench_train_ddpm.py [--updates 200]`.

Beside it stands the loop of diffusers' example train_unconditional, made of that library's parts (DataLoader,
torchvision, DDPMScheduler, AdamW, EMAModel, its cosine schedule, accelerate), once with the settings of the one here,
and once with the example's own of AdamW (betas 0.95 and 0.999, decay 1e-6) and of the average (power 3/4, at most
0.9999). All train the same network from the same weights on the same drawings, by the same loss at the same rate; in
one process, alternately, some updates each, so that whatever else the machine does falls on all. Seconds of all threads
are the steadier figure on a busy machine.

Every fourth drawing is held out. Afterwards each network, with its last weights and with their average, says the noise
in those, at fixed noise levels with fixed noise, so that networks are compared drawing by drawing. Each loop draws its
own batches, so that is done for several seeds: the error over these is the one that a difference is held against.

With --workers: one worker of Ray against two, a core each, the batch shared. The last line is JSON.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from measuring import alternate, default_device, finish, show
from PIL import Image
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from cluster import Resources, connect, train_together
from deeplab.parallel import rank, sum_gradients, summed, workers
from generate import Schedule
from generate.pixels import to_model
from generate.settings import Network, Training
from generate.train import Workers, build_unet, image_paths, read_square, train, trainee

TOGETHER = 5  # updates of a round
LEVELS = 10  # noise levels at which a held-out drawing is looked at
FIRST = "this loop"
EXAMPLES = {"betas": (0.95, 0.999), "weight_decay": 1e-6}  # of AdamW
EXAMPLES_AVERAGE = {"decay": 0.9999, "use_ema_warmup": True, "power": 3 / 4}


@dataclass(frozen=True)
class Way:
    """A training that goes on when its losses are asked for."""

    unet: UNet2DModel
    average: EMAModel
    losses: Iterator[float]


class Drawings(Dataset):
    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths = paths
        self.prepared = transforms.Compose(
            [
                transforms.Resize(size, InterpolationMode.LANCZOS),  # the example's are smoother, hence easier
                transforms.CenterCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.5], [0.5]),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        prepared = self.prepared(Image.open(self.paths[index]).convert("RGB"))
        assert isinstance(prepared, torch.Tensor)
        return prepared


def by_diffusers(
    network: Network, paths: list[Path], settings: Training, adamw: dict[str, Any], average: dict[str, Any]
) -> Way:
    accelerator = Accelerator(mixed_precision="no", cpu=default_device() == "cpu")
    unet, scheduler = build_unet(network, settings.seed), DDPMScheduler()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=settings.learning_rate, **adamw)
    rates = get_cosine_schedule_with_warmup(optimizer, settings.warmup, settings.updates)
    loader = DataLoader(Drawings(paths, network.size), settings.batch_size, shuffle=True, drop_last=True)
    kept = EMAModel(unet.parameters(), **average)
    unet, optimizer, loader, rates = accelerator.prepare(unet, optimizer, loader, rates)
    kept.to(accelerator.device)

    def losses() -> Iterator[float]:
        while True:
            for images in loader:
                noise = torch.randn_like(images)
                steps = torch.randint(scheduler.config["num_train_timesteps"], (len(images),), device=images.device)
                noisy = scheduler.add_noise(images, noise, steps)  # type: ignore[arg-type]  # any integers, as its guide
                loss = mse_loss(unet(noisy, steps).sample, noise)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(unet.parameters(), 1.0)
                optimizer.step()
                rates.step()
                optimizer.zero_grad()
                kept.step(unet.parameters())
                yield loss.item()

    return Way(unet, kept, losses())


def by_us(network: Network, paths: list[Path], settings: Training, folder: Path) -> Way:
    unet = build_unet(network, settings.seed)
    unet.to(torch.device(default_device()))  # type: ignore[call-overload]
    state, schedule = trainee(unet, settings), Schedule.named("linear", "epsilon")
    updates = train(state, schedule, paths, settings, folder / "checkpoint.pt")
    return Way(unet, state.ema, (update.loss for update in updates))


@torch.no_grad()
def held_out_losses(unet: UNet2DModel, paths: list[Path], size: int) -> list[float]:
    """Of each drawing, the mean squared error of the noise at fixed levels, always with the same noise."""
    schedule, rng = Schedule.named("linear", "epsilon"), torch.Generator().manual_seed(0)
    t = ((torch.arange(LEVELS) + 0.5) / LEVELS * len(schedule)).long().to(unet.device)
    found = []
    for path in paths:
        x_0 = to_model(np.stack([read_square(path, size)])).expand(LEVELS, -1, -1, -1).to(unet.device)
        noise = torch.randn(x_0.shape, generator=rng).to(unet.device)
        found.append(mse_loss(unet(schedule.add_noise(x_0, t, noise), t).sample, noise).item())
    return found


def compared(
    network: Network, paths: list[Path], held_out: list[Path], settings: Training, folder: Path
) -> dict[str, dict[str, Any]]:
    torch.manual_seed(settings.seed)
    ways = {
        FIRST: by_us(network, paths, settings, folder),
        "diffusers, same settings": by_diffusers(
            network, paths, settings, {"weight_decay": 1e-4}, {"decay": settings.ema_decay}
        ),
        "diffusers, its example's": by_diffusers(network, paths, settings, EXAMPLES, EXAMPLES_AVERAGE),
    }
    losses: dict[str, list[float]] = {name: [] for name in ways}

    def some(name: str) -> None:
        losses[name] += islice(ways[name].losses, TOGETHER)

    timed = alternate({name: partial(some, name) for name in ways}, settings.updates // TOGETHER, default_device())
    found: dict[str, dict[str, Any]] = {}
    for name, way in ways.items():
        last = held_out_losses(way.unet, held_out, network.size)
        way.average.copy_to(way.unet.parameters())
        seconds = {"seconds": median(timed[name].seconds), "cpu_seconds": median(timed[name].cpu_seconds)}
        found[name] = {key: value / TOGETHER for key, value in seconds.items()} | {
            "training": mean(losses[name][len(losses[name]) // 2 :]),
            "last": last,
            "average": held_out_losses(way.unet, held_out, network.size),
        }
    return found


def against_first(runs: list[dict[str, dict[str, Any]]], name: str, weights: str) -> dict[str, float]:
    """By how much the held-out loss is above this loop's: standard errors over drawings and, of several, over seeds."""
    by_seed, errors = [], []
    for run in runs:
        pairs = [a - b for a, b in zip(run[name][weights], run[FIRST][weights], strict=True)]
        by_seed.append(mean(pairs))
        errors.append(stdev(pairs) / len(pairs) ** 0.5)
    over_seeds = stdev(by_seed) / len(by_seed) ** 0.5 if len(by_seed) > 1 else float("nan")
    return {"difference": mean(by_seed), "over_drawings": mean(errors), "over_seeds": over_seeds}


def table(runs: list[dict[str, dict[str, Any]]]) -> list[list[str]]:
    head = ["loop", "s an update", "CPU s an update", "training loss, last half"]
    rows = [
        [*head, *(f"held out, {which}" for which in ("last weights, beside this loop", "average, beside this loop"))]
    ]
    for name in runs[0]:
        cells = [f"{mean(run[name][key] for run in runs):.3f}" for key in ("seconds", "cpu_seconds")]
        cells.append(f"{mean(run[name]['training'] for run in runs):.4f}")
        for weights in ("last", "average"):
            loss, beside = mean(mean(run[name][weights]) for run in runs), against_first(runs, name, weights)
            errors = f"{beside['over_drawings']:.4f} (drawings), {beside['over_seeds']:.4f} (seeds)"
            cells.append(f"{loss:.4f}" + (f"; {beside['difference']:+.4f} +- {errors}" if name != FIRST else ""))
        rows.append([name, *cells])
    return rows


def _timed(network: Network, paths: list[Path], settings: Training, out: Path, rank_: int) -> None:
    group = Workers(rank(), workers(), sum_gradients, summed)
    state, schedule = trainee(build_unet(network, 0), settings), Schedule.named("linear", "epsilon")
    moments = [time.perf_counter() for _ in train(state, schedule, paths, settings, out / "none.pt", workers=group)]
    if rank_ == 0:
        seconds = [later - earlier for earlier, later in pairwise(moments)]
        (out / f"seconds-{workers()}").write_text(str(median(seconds)))


class Loop:
    """What Ray sends to each worker."""

    def __init__(self, network: Network, paths: list[Path], settings: Training, out: Path) -> None:
        self.given = (network, paths, settings, out)

    def __call__(self, rank: int) -> None:
        _timed(*self.given, rank)


def scaled(network: Network, paths: list[Path], settings: Training, folder: Path) -> dict[int, float]:
    """Seconds of an update by workers."""
    with connect(cpus=2, gpus=0):
        for count in (1, 2):
            loop = Loop(network, paths, settings, folder)
            train_together(loop, workers=count, resources=Resources(), retries=0, storage=folder / f"ray-{count}")
    return {count: float((folder / f"seconds-{count}").read_text()) for count in (1, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=Path(__file__).parents[2] / "pipelines/demo/held_out")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", action="store_true")
    given = parser.parse_args()
    network = Network(size=given.size, channels=(32, 64, 96), attention=(8,))
    settings = Training(updates=given.updates, batch_size=given.batch, warmup=20, mirror=True, checkpoint_every=10**6)
    every = image_paths(given.images)
    held_out, paths = every[::4], [path for i, path in enumerate(every) if i % 4]
    about = {"images": len(paths), "updates": given.updates, "batch": given.batch, "size": given.size}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if given.workers:
            seconds = scaled(network, paths, settings, Path(folder))
            show("Workers", [["workers", "s an update"], *([count, f"{s:.3f}"] for count, s in seconds.items())])
            finish("train-ddpm, workers", default_device(), about, {"seconds": seconds})
            return
        of_seeds = [replace(settings, seed=seed) for seed in range(given.seeds)]
        runs = [compared(network, paths, held_out, each, Path(folder)) for each in of_seeds]
    show("Training", table(runs))
    differences = {
        name: {weights: against_first(runs, name, weights) for weights in ("last", "average")} for name in runs[0]
    }
    finish("train-ddpm", default_device(), {**about, "seeds": given.seeds}, {"ways": differences})


if __name__ == "__main__":
    main()

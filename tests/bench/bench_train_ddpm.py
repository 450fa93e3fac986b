"""How fast a diffusion model is trained: `python tests/bench/bench_train_ddpm.py [--updates 200] [--workers]`.

Beside it stands the loop that diffusers' guide to unconditional training describes, made of that library's parts
(DataLoader, torchvision, DDPMScheduler, AdamW, EMAModel, its cosine schedule, accelerate). Both train the same network
from the same weights on the same drawings, by the same loss at the same rate; in one process, alternately, some updates
each, so that whatever else the machine does falls on both. They draw other noise, so that their losses agree within its
noise: of the last half of the updates, mean and standard error stand in the table. Seconds of all threads are the
steadier figure on a busy machine.

With --workers: one worker of Ray against two, a core each, the batch shared. The last line is JSON.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from statistics import mean, median, stdev

os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from measuring import alternate, default_device, finish, show
from PIL import Image
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cluster import Resources, connect, train_together
from deeplab.parallel import rank, sum_gradients, summed, workers
from generate import Schedule
from generate.settings import Network, Training
from generate.train import Workers, build_unet, image_paths, train, trainee

TOGETHER = 5  # updates of a round


class Drawings(Dataset):
    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths = paths
        self.prepared = transforms.Compose(
            [
                transforms.Resize(size),
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


def by_diffusers(network: Network, paths: list[Path], settings: Training) -> Iterator[float]:
    accelerator = Accelerator(mixed_precision="no", cpu=default_device() == "cpu")
    unet, scheduler = build_unet(network, settings.seed), DDPMScheduler()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=settings.learning_rate, weight_decay=1e-4)
    rates = get_cosine_schedule_with_warmup(optimizer, settings.warmup, settings.updates)
    loader = DataLoader(Drawings(paths, network.size), settings.batch_size, shuffle=True, drop_last=True)
    average = EMAModel(unet.parameters(), decay=settings.ema_decay)
    unet, optimizer, loader, rates = accelerator.prepare(unet, optimizer, loader, rates)
    average.to(accelerator.device)
    while True:
        for images in loader:
            noise = torch.randn_like(images)
            steps = torch.randint(scheduler.config["num_train_timesteps"], (len(images),), device=images.device)
            noisy = scheduler.add_noise(images, noise, steps)  # type: ignore[arg-type]  # any integers, as its guide has it
            loss = mse_loss(unet(noisy, steps).sample, noise)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            rates.step()
            optimizer.zero_grad()
            average.step(unet.parameters())
            yield loss.item()


def by_us(network: Network, paths: list[Path], settings: Training, folder: Path) -> Iterator[float]:
    unet = build_unet(network, settings.seed)
    unet.to(torch.device(default_device()))  # type: ignore[call-overload]
    state, schedule = trainee(unet, settings), Schedule.named("linear", "epsilon")
    for update in train(state, schedule, paths, settings, folder / "checkpoint.pt"):
        yield update.loss


def compared(network: Network, paths: list[Path], settings: Training, folder: Path) -> dict[str, dict[str, float]]:
    loops = {
        "ours": by_us(network, paths, settings, folder),
        "diffusers + accelerate": by_diffusers(network, paths, settings),
    }
    losses: dict[str, list[float]] = {name: [] for name in loops}

    def some(name: str) -> None:
        losses[name] += islice(loops[name], TOGETHER)

    timed = alternate({name: partial(some, name) for name in loops}, settings.updates // TOGETHER, default_device())
    later = {name: values[len(values) // 2 :] for name, values in losses.items()}
    return {
        name: {
            "seconds": median(way.seconds) / TOGETHER,
            "cpu_seconds": median(way.cpu_seconds) / TOGETHER,
            "loss": mean(later[name]),
            "error": stdev(later[name]) / len(later[name]) ** 0.5,
        }
        for name, way in timed.items()
    }


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
    parser.add_argument("--workers", action="store_true")
    given = parser.parse_args()
    network = Network(size=given.size, channels=(32, 64, 96), attention=(8,))
    settings = Training(updates=given.updates, batch_size=given.batch, warmup=20, mirror=True, checkpoint_every=10**6)
    paths = [path for path in image_paths(given.images) if not path.stem.endswith(".mask")]
    about = {"images": len(paths), "updates": given.updates, "batch": given.batch, "size": given.size}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if given.workers:
            seconds = scaled(network, paths, settings, Path(folder))
            show("Workers", [["workers", "s an update"], *([count, f"{s:.3f}"] for count, s in seconds.items())])
            finish("train-ddpm, workers", default_device(), about, {"seconds": seconds})
            return
        found = compared(network, paths, settings, Path(folder))
    rows = [
        [name, f"{f['seconds']:.3f}", f"{f['cpu_seconds']:.3f}", f"{f['loss']:.4f} +- {f['error']:.4f}"]
        for name, f in found.items()
    ]
    show("Training", [["loop", "s an update", "CPU s an update", "loss, last half"], *rows])
    finish("train-ddpm", default_device(), about, {"ways": found})


if __name__ == "__main__":
    main()

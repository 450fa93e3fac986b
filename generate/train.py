"""Train a DDPM on a folder of images without labels (arXiv 2006.11239, algorithm 1; v prediction: arXiv 2202.00512).

The batch, noise and steps of an update are functions of (seed, update), so a run that was killed and started again
ends with the same weights as one that was not.
"""

import math
import os
import secrets
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel
from diffusers.training_utils import EMAModel
from PIL import Image, ImageOps

from generate.errors import CheckpointError, ImageError, TrainingError
from generate.images import IMAGE_SUFFIXES, read_image
from generate.pixels import to_model
from generate.schedule import Schedule
from generate.seeds import generator
from generate.settings import Network, Training
from generate.tensors import load_saved


@dataclass(frozen=True)
class Update:
    """What one optimiser step reports."""

    number: int  # counted from 1
    loss: float
    learning_rate: float


@dataclass
class Trainee:
    """A network in training with all that a restart needs."""

    unet: UNet2DModel
    ema: EMAModel
    optimizer: torch.optim.Optimizer
    done: int = 0  # updates
    origin: dict[str, Any] = field(default_factory=dict)  # settings and images, by which a checkpoint is known again

    def save(self, path: Path) -> None:
        state = {
            "unet": self.unet.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
            "origin": self.origin,
        }
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            with open(temporary, "xb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Raises CheckpointError for a file that is damaged, or of another network."""
        state = load_saved(path)
        try:
            self.unet.load_state_dict(state["unet"])
            self.ema.load_state_dict(state["ema"])
            self.ema.to(self.unet.device)
            self.optimizer.load_state_dict(state["optimizer"])
            self.done = int(state["done"])
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CheckpointError(f"{path} is no checkpoint of this network's training") from error


def build_unet(shape: Network, seed: int) -> UNet2DModel:
    """A fresh network on the CPU, its weights a function of the seed."""
    resolutions = [shape.size // 2**level for level in range(len(shape.channels))]
    attends = [resolution in shape.attention for resolution in resolutions]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        unet = UNet2DModel(
            sample_size=shape.size,
            layers_per_block=shape.layers,
            block_out_channels=shape.channels,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
            attention_head_dim=shape.head_channels,
            norm_num_groups=shape.norm_groups,
        )
    unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return unet


def trainee(unet: UNet2DModel, settings: Training) -> Trainee:
    """The network with its average and optimiser as they are before the first update."""
    ema = EMAModel(unet.parameters(), decay=settings.ema_decay)
    optimizer = torch.optim.AdamW(unet.parameters(), settings.learning_rate, weight_decay=1e-4, fused=True)
    return Trainee(unet, ema, optimizer)


def image_paths(folder: Path) -> list[Path]:
    """All images below a folder, sorted by path. Raises ImageError when there are none, or no folder."""
    if not folder.is_dir():
        raise ImageError(f"{folder} {'is no folder' if folder.exists() else 'does not exist'}; images are needed there")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ImageError(f"{folder} holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return paths


def read_square(path: Path, size: int) -> np.ndarray:
    """The image's central square as uint8 [size,size,3]. Raises ImageError for one that cannot be read."""
    image = Image.fromarray(read_image(path))
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def batch_of(paths: list[Path], size: int, settings: Training, update: int) -> np.ndarray:
    """The images of one update, uint8 [batch,size,size,3]: epoch after epoch, each in an order of its own."""
    images = []
    for place in range(update * settings.batch_size, (update + 1) * settings.batch_size):
        epoch, index = divmod(place, len(paths))
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(paths))
        flip = settings.mirror and np.random.default_rng([settings.seed, 1, place]).random() < 0.5
        image = read_square(paths[order[index]], size)
        images.append(image[:, ::-1] if flip else image)
    return np.stack(images)


def learning_rate(update: int, settings: Training) -> float:
    """Linear warm-up, then half a cosine to 0."""
    if update < settings.warmup:
        return settings.learning_rate * (update + 1) / settings.warmup
    progress = (update - settings.warmup) / max(1, settings.updates - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def train(
    state: Trainee, schedule: Schedule, paths: list[Path], settings: Training, checkpoint: Path
) -> Generator[Update, None, None]:
    """Go on from state.done to settings.updates, saving to `checkpoint` every so often and at the end."""
    device, size = state.unet.device, int(state.unet.config["sample_size"])
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(batch_of, paths, size, settings, state.done)
        while state.done < settings.updates:
            images = ahead.result()
            ahead = reader.submit(batch_of, paths, size, settings, state.done + 1)
            x_0 = to_model(images)
            rng = generator(settings.seed, state.done)
            t = torch.randint(len(schedule), (len(x_0),), generator=rng)
            noise = torch.randn(x_0.shape, generator=rng)
            x_0, t, noise = x_0.to(device), t.to(device), noise.to(device)
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(state.done, settings)
            with autocast:
                prediction = state.unet(schedule.add_noise(x_0, t, noise), t).sample
            loss = (prediction.float() - schedule.training_target(x_0, t, noise)).square().mean()
            if not loss.isfinite():
                raise TrainingError(
                    f"the loss is {loss.item()} at update {state.done + 1}; lower the learning rate, or look at the "
                    "images"
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(state.unet.parameters(), 1.0)
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.ema.step(state.unet.parameters())
            state.done += 1
            if state.done % settings.checkpoint_every == 0 or state.done == settings.updates:
                state.save(checkpoint)
            yield Update(state.done, loss.item(), learning_rate(state.done - 1, settings))

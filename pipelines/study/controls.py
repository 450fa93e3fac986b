"""What an interpreter's features are compared with: the pixels themselves, and a UNet that was never trained."""

import hashlib
import json
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from jaxtyping import Float, UInt8
from torch import Tensor

from generate import Denoiser
from generate.pixels import to_model


class RawPixels:
    """A FeatureSource of colours: of the window x window pixels around each, and where it lies, all in [-1, 1]."""

    def __init__(self, image_size: tuple[int, int], window: int = 7) -> None:
        self.image_size, self.window = image_size, window

    @property
    def channels(self) -> int:
        return 3 * self.window**2 + 2

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(["pixels", self.image_size, self.window]).encode()).hexdigest()

    def maps(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Float[Tensor, "b _ _ _"]]:
        """One map at the images' size; the edge's colours stand for those beyond it."""
        height, width = self.image_size
        colours = F.pad(to_model(images), [self.window // 2] * 4, mode="replicate")
        around = F.unfold(colours, self.window).unflatten(2, self.image_size)
        axes = (torch.linspace(-1, 1, height), torch.linspace(-1, 1, width))
        place = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(images), 2, height, width)
        return [torch.cat([around, place], dim=1)]

    def save_pretrained(self, folder: Path) -> None:
        record = {"pixels": self.window, "image_size": self.image_size}
        (folder / "features.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


def untrained(denoiser: Denoiser, seed: int) -> Denoiser:
    """The same network with fresh weights, a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        unet = cast(UNet2DModel, UNet2DModel.from_config(denoiser.unet.config))
    fresh = Denoiser(unet, denoiser.schedule, digest=f"untrained-{seed}-{denoiser.digest}")
    return fresh.to(denoiser.device)

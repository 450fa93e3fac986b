"""A network in training: fresh, of the published kind, or one that exists; with all that a restart needs."""

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.training_utils import EMAModel

from generate import guided
from generate.errors import CheckpointError
from generate.guided_flags import GuidedFlags
from generate.settings import Network, Training
from generate.tensors import load_saved


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


def trainee(unet: UNet2DModel, settings: Training) -> Trainee:
    """The network with its average and optimiser as they are before the first update."""
    unet.requires_grad_(True).train()
    ema = EMAModel(unet.parameters(), decay=settings.ema_decay)
    optimizer = torch.optim.AdamW(unet.parameters(), settings.learning_rate, weight_decay=1e-4, fused=True)
    return Trainee(unet, ema, optimizer)


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


def build_published(flags: GuidedFlags, seed: int) -> UNet2DModel:
    """The network that guided-diffusion's flags describe, fresh: what ends a residual block, an attention and the
    network begins at zero, as there."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        unet = guided.build_unet(flags, torch.device("cpu"))
    attentions = [next(iter(module.to_out or ())) for module in unet.modules() if isinstance(module, Attention)]
    convolutions = [module.conv2 for module in unet.modules() if isinstance(module, ResnetBlock2D)]
    for end in (unet.conv_out, *attentions, *convolutions):
        for parameter in end.parameters():
            torch.nn.init.zeros_(parameter)
    unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return unet

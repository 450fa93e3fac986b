"""A feature source that no diffusion model stands behind: any network that turns normalised images into maps."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from generate import CheckpointError
from generate.tensors import load_saved
from label.errors import InterpreterError
from label.feature_records import FEATURES, backbone_digest

Size = tuple[int, int]  # height and width

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_SHOWN = 3  # tensors that a message names

N = TypeVar("N", bound=nn.Module)


class Backbone(nn.Module):
    """A network that turns normalised images into maps, and all that names it; a FeatureSource."""

    def __init__(
        self,
        network: nn.Module,
        read: Callable[[nn.Module, Tensor], list[Tensor]],
        identity: Mapping[str, Any],
        *,
        channels: int,
        image_size: Size,
        weights: Path | None = None,
        seen_size: Size | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        """`identity` is JSON, all that the maps depend on, with its `kind` as a recipe names it.

        `weights` is where their file lies; images are resized to `seen_size`, if that is another.
        """
        super().__init__()
        self.network, self._read, self.identity = network.requires_grad_(False).eval(), read, dict(identity)
        self.image_size, self._seen, self._weights = image_size, seen_size or image_size, weights
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.channels = channels

    @property
    def digest(self) -> str:
        return backbone_digest(self.identity, self.image_size)

    @torch.no_grad()
    def maps(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps at their own resolutions, in the network's order."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        pixels = torch.tensor(images, device=mean.device).permute(0, 3, 1, 2).float() / 255
        if self._seen != self.image_size:
            pixels = F.interpolate(pixels, self._seen, mode="bilinear", antialias=True)
        return self._read(self.network, (pixels - mean) / std)

    def save_pretrained(self, folder: Path) -> None:
        """Write features.json, from which the same source is opened again, given the same weights."""
        record = {
            "kind": self.identity["kind"],
            "backbone": self.identity,
            "image_size": self.image_size,
            "weights": self._weights and str(self._weights.resolve()),
            "digest": self.digest,
        }
        (folder / FEATURES).write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def chosen_layers(layers: Sequence[int] | None, count: int, default: Sequence[int], name: str) -> tuple[int, ...]:
    """The layers that were asked for, or the default. Raises InterpreterError for one that there is not."""
    if strange := [layer for layer in layers or () if not 0 <= layer < count]:
        raise InterpreterError(f"{name} has layers 0 to {count - 1}; {strange} are not among them")
    return tuple(layers or default)


def filled(network: N, tensors: Mapping[str, Tensor], path: Path, name: str) -> N:
    """The network with these tensors as its weights. InterpreterError names what is missing or does not fit."""
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    came = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if wrong := sorted(key for key in wanted.keys() | came.keys() if wanted.get(key) != came.get(key)):
        rows = [f"{key}: file {came.get(key, 'lacks it')}, network {wanted.get(key, 'has none')}" for key in wrong]
        raise InterpreterError(f"{path} is not of {name}: {len(wrong)} tensors differ ({'; '.join(rows[:_SHOWN])})")
    network.load_state_dict({key: tensor.float() for key, tensor in tensors.items()}, assign=True)
    return network


def stored_tensors_of(path: Path, key: str, name: str) -> dict[str, Tensor]:
    """The state_dict under a key of a published checkpoint; nothing but tensors is unpickled."""
    try:
        stored = load_saved(path, mmap=True)
    except CheckpointError as error:
        raise InterpreterError(f"{path} cannot be read as a checkpoint of {name}: {error}") from error
    held = stored.get(key) if isinstance(stored, dict) else None
    if not isinstance(held, dict) or not all(isinstance(tensor, Tensor) for tensor in held.values()):
        shown = ", ".join(map(str, list(stored)[:_SHOWN])) if isinstance(stored, dict) else type(stored).__name__
        raise InterpreterError(f"{path} is no checkpoint of {name}, which holds {key!r}; it holds {shown}")
    return held


def tensors_digest(network: nn.Module) -> str:
    """sha256 of a network's weights that lie in no file of ours."""
    whole = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        whole.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()

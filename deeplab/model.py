"""The network: DeepLabV3 (arXiv 1706.05587) or V3+ (arXiv 1802.02611) on any encoder, and its folder on disk."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPPPooling
from torch import Tensor, nn

from deeplab.dropout import replace_dropout
from deeplab.encoders import make_layers
from deeplab.errors import NetworkError
from deeplab.images import prepare
from deeplab.parallel import workers
from deeplab.settings import Network

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMATS = ("deeplabv3-1", "deeplabv3-2")  # of the folder; the first, whose networks have no scale, is read alone


@dataclass(frozen=True)
class Architecture:
    """A network's shape, and the names of what it tells apart, if they are known."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False)

    classes: int
    network: Network
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= 255:
            raise NetworkError(f"a network of {self.classes} classes was asked for; 2 to 255 fit into an 8-bit mask")
        if self.class_names and len(self.class_names) != self.classes:
            raise NetworkError(f"{len(self.class_names)} class names came for {self.classes} classes")


@dataclass(frozen=True)
class _Config:
    """What config.json holds."""

    format: str
    architecture: Architecture


_CONFIG = TypeAdapter(_Config)


class DeepLab(nn.Module):
    """Normalised images to logits of the same size; any size, since sides are padded to the stride and cropped.

    Images are enlarged `scale` times going in (bilinear), and each pixel's logits are the mean of its enlarged ones.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        shape = architecture.network
        self.architecture = replace(architecture, network=replace(shape, encoder_weights=None))  # they are in it now
        self.network = make_layers(shape, architecture.classes)
        replace_dropout(self.network)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - what convolutions run fastest in

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h w"]:
        scale, stride = self.architecture.network.scale, self.architecture.network.output_stride
        height, width = (scale * side for side in images.shape[-2:])
        if scale > 1:
            images = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
        # one image, averaged to one pixel, has no batch statistics: there the pooling branch uses the running ones
        pooling = next(module for module in self.network.decoder.modules() if isinstance(module, ASPPPooling))
        pooling.train(self.training and len(images) * workers() > 1)
        padded = F.pad(images, (0, -width % stride, 0, -height % stride), mode="replicate")
        logits = self.network(padded)[..., :height, :width]
        return F.avg_pool2d(logits, scale) if scale > 1 else logits


def build(
    classes: int, network: Network | None = None, *, class_names: Sequence[str] = (), seed: int = 0, **settings: Any
) -> DeepLab:
    """A network on the CPU whose fresh weights are a function of the seed.

    Its shape is given as a Network or by keywords, the fields of Network, which stand over it; published otherwise.
    Raises NetworkError for a setting that does not fit, DownloadError if encoder weights cannot be had.
    """
    return _fresh(Architecture(classes, replace(network or Network(), **settings), tuple(class_names)), seed)


@torch.inference_mode()
def predict(
    model: nn.Module, images: UInt8[np.ndarray, "b h w 3"] | UInt8[Tensor, "b h w 3"]
) -> UInt8[np.ndarray, "b h w"]:
    """The likeliest class id of each pixel, on the device where the model is; leaves the model in eval mode."""
    device = next(model.parameters()).device
    logits = model.eval()(prepare(images, device))
    return logits.argmax(1).to(torch.uint8).cpu().numpy()


def save(model: DeepLab, folder: str | Path) -> None:
    """Write weights and architecture into the folder, made if need be; config.json comes last and whole."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)  # a save that is cut short leaves no folder that looks complete
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if wrong := [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]:
        raise NetworkError(f"{wrong[0]} of the network has a value that is not finite; lower the learning rate")
    save_file(weights, folder / WEIGHTS)
    config = {"format": FORMATS[-1], "architecture": asdict(model.architecture)}
    partial = folder / f"{CONFIG}.part"
    partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / CONFIG)


def load(folder: str | Path, device: str | torch.device = "cpu") -> DeepLab:
    """The network that save() wrote, in eval mode; NetworkError says what is wrong with a folder that is not one."""
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise NetworkError(
                f"{folder} is not a DeepLab folder, it holds no {name}; deeplab.save() writes one, so train again"
            )
    model = _fresh(_read_architecture(folder / CONFIG), seed=0)
    try:
        weights = load_file(folder / WEIGHTS)
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        raise NetworkError(
            f"{folder / WEIGHTS} is cut short, or of another network than {CONFIG} describes; train again"
        ) from error
    if wrong := [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]:
        raise NetworkError(f"{folder / WEIGHTS}: {wrong[0]} has a value that is not finite; train again")
    return model.to(device).eval()


def _read_architecture(path: Path) -> Architecture:
    try:
        config = _CONFIG.validate_json(path.read_bytes())
        if config.format not in FORMATS:
            raise ValueError(f"its format is {config.format}, this code reads {' and '.join(FORMATS)}")
        said = json.loads(path.read_bytes())["architecture"]["network"]  # what has a default is not left out either
        newer = {"scale"} if config.format == FORMATS[0] else set()
        if lacking := [field.name for field in fields(Network) if field.name not in {*said, *newer}]:
            raise ValueError(f"it lacks {lacking[0]!r}")
        return config.architecture
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise NetworkError(
            f"{path} does not describe a network that deeplab.save() wrote: "
            f"{'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg']}; train again"
        ) from error
    except (ValueError, OSError) as error:
        raise NetworkError(
            f"{path} does not describe a network that deeplab.save() wrote: {error}; train again"
        ) from error
    return config.architecture


def _fresh(architecture: Architecture, seed: int) -> DeepLab:
    """Draws the weights from the seed and leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return DeepLab(architecture)

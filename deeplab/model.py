"""The network: DeepLabV3 (arXiv 1706.05587) or V3+ (arXiv 1802.02611) on any encoder, and its folder on disk."""

import difflib
import json
import os
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPPPooling
from segmentation_models_pytorch.encoders import encoders as ENCODERS
from torch import Tensor, nn

from deeplab.dropout import replace_dropout
from deeplab.parallel import workers

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = "deeplabv3-1"  # of the folder; raised when older code could not read it
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]

Variant = Literal["v3", "v3+"]
OutputStride = Literal[8, 16]
EncoderDepth = Literal[3, 4, 5]
WEIGHT_FILES = (".pt", ".pth", ".bin", ".safetensors")  # encoder weights that are a file, not a name
VARIANTS = {"v3": smp.DeepLabV3, "v3+": smp.DeepLabV3Plus}


@dataclass(frozen=True)
class Architecture:
    """All that decides a network's shape, and the names of what it tells apart; build() explains the fields."""

    classes: int
    variant: Variant
    encoder: str
    output_stride: OutputStride
    encoder_depth: EncoderDepth
    decoder_channels: int
    atrous_rates: tuple[int, int, int]
    aspp_dropout: float
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= 255:
            raise ValueError(f"a network of {self.classes} classes was asked for; 2 to 255 fit into an 8-bit mask")
        if self.variant not in VARIANTS:
            raise ValueError(f"there is no DeepLab {self.variant!r}; there are {', '.join(VARIANTS)}")
        if self.output_stride not in (8, 16):
            raise ValueError(f"the output stride is {self.output_stride}; DeepLabV3 has 8 or 16")
        if self.encoder_depth not in (3, 4, 5):
            raise ValueError(f"the encoder depth is {self.encoder_depth}; DeepLabV3 needs 3, 4 or 5 stages")
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"{len(self.class_names)} class names came for {self.classes} classes")


class DeepLab(nn.Module):
    """Normalised images to logits of the same size; any size, since sides are padded to the stride and cropped."""

    def __init__(self, architecture: Architecture, *, encoder_weights: str | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.network = _network(architecture, encoder_weights)
        replace_dropout(self.network)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h w"]:
        height, width = images.shape[-2:]
        stride = self.architecture.output_stride
        # one image, averaged to one pixel, has no batch statistics: there the pooling branch uses the running ones
        pooling = next(module for module in self.network.decoder.modules() if isinstance(module, ASPPPooling))
        pooling.train(self.training and len(images) * workers() > 1)
        padded = F.pad(images, (0, -width % stride, 0, -height % stride), mode="replicate")
        return self.network(padded)[..., :height, :width]


def build(
    classes: int,
    *,
    variant: Variant = "v3",
    encoder: str = "resnet18",
    output_stride: OutputStride = 8,
    encoder_depth: EncoderDepth = 5,
    encoder_weights: str | None = None,
    decoder_channels: int = 256,
    atrous_rates: tuple[int, int, int] = (12, 24, 36),
    aspp_dropout: float = 0.5,
    class_names: Sequence[str] = (),
    seed: int = 0,
) -> DeepLab:
    """A network on the CPU whose fresh weights are a function of the seed.

    Variant "v3" is the published one, whose masks are as coarse as the output stride; "v3+" refines them by features
    of stride 4, which small images need. encoder is a name of segmentation_models_pytorch, or "tu-" and one of timm.
    Its first encoder_depth stages are used: 3 of them reach stride 8, the later ones see further at the same stride
    by dilation and cost most of the time. The atrous rates, in pixels of the output stride, are the published ones
    for large images; a rate of the feature map's side or more sees nothing but padding. encoder_weights, such as
    "imagenet", are downloaded, or read from a file.

    Raises ValueError for a name or number that does not fit, OSError if encoder weights cannot be had.
    """
    architecture = Architecture(
        classes,
        variant,
        encoder,
        output_stride,
        encoder_depth,
        decoder_channels,
        atrous_rates,
        aspp_dropout,
        tuple(class_names),
    )
    return _fresh(architecture, encoder_weights, seed)


def normalise(images: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
    """8-bit RGB to float32 with the mean 0 and deviation 1 that ImageNet's pixels would have."""
    mean, std = _imagenet(images.device)
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


@cache  # a GPU would wait for them to be copied
@torch.inference_mode(False)  # whoever asks first
def _imagenet(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(IMAGENET_MEAN, device=device), torch.tensor(IMAGENET_STD, device=device)


def as_tensor(array: np.ndarray | Tensor) -> Tensor:
    """The array's values as a tensor, also where they are read-only or flipped."""
    return array if isinstance(array, Tensor) else torch.from_numpy(np.require(array, requirements=["C", "W"]))


def prepare(images: np.ndarray | Tensor, device: torch.device) -> Float[Tensor, "b 3 h w"]:
    """Images as the network wants them, on the device; raises ValueError unless they are uint8 [b, h, w, 3]."""
    tensor = as_tensor(images)
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[-1] != 3:
        raise ValueError(f"images are {tensor.dtype} {list(tensor.shape)}; uint8 [batch, height, width, 3] is needed")
    return normalise(sent(tensor, device))


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; the host's are queued on the way to a GPU, so that nothing waits for them."""
    queued = device.type == "cuda" and tensor.device.type == "cpu"
    return tensor.pin_memory().to(device, non_blocking=True) if queued else tensor.to(device)


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
    save_file(weights, folder / WEIGHTS)
    config = {"format": FORMAT, "architecture": asdict(model.architecture)}
    partial = folder / f"{CONFIG}.part"
    partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / CONFIG)


def load(folder: str | Path, device: str | torch.device = "cpu") -> DeepLab:
    """The network that save() wrote, in eval mode; ValueError says what is wrong with a folder that is not one."""
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is not a DeepLab folder, it holds no {name}; deeplab.save() writes one")
    model = _fresh(_read_architecture(folder / CONFIG), encoder_weights=None, seed=0)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{folder / WEIGHTS} is cut short, or of another network than {CONFIG} describes") from error
    return model.to(device).eval()


def _read_architecture(path: Path) -> Architecture:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            raise ValueError(f"its format is {config['format']}, this code reads {FORMAT}")
        fields = config["architecture"]
        lists = {name: tuple(fields[name]) for name in ("atrous_rates", "class_names")}
        return Architecture(**{**fields, **lists})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not describe a network that deeplab.save() wrote: {error}") from error


def _fresh(architecture: Architecture, encoder_weights: str | None, seed: int) -> DeepLab:
    """Draws the weights from the seed and leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return DeepLab(architecture, encoder_weights=encoder_weights)


def _network(architecture: Architecture, encoder_weights: str | None) -> smp.DeepLabV3 | smp.DeepLabV3Plus:
    name, file = architecture.encoder, None
    if encoder_weights and Path(encoder_weights).suffix in WEIGHT_FILES:
        encoder_weights, file = None, Path(encoder_weights)
    _check_encoder(name, encoder_weights)
    # a timm model's weights go by its own name, so that smp wants a flag here
    weights = True if name.startswith("tu-") and encoder_weights else encoder_weights
    try:
        network = VARIANTS[architecture.variant](
            encoder_name=name,
            encoder_depth=architecture.encoder_depth,
            encoder_weights=cast(str | None, weights),
            encoder_output_stride=architecture.output_stride,
            decoder_channels=architecture.decoder_channels,
            decoder_atrous_rates=architecture.atrous_rates,
            decoder_aspp_dropout=architecture.aspp_dropout,
            classes=architecture.classes,
        )
    except OSError as error:
        raise OSError(
            f"the {encoder_weights} weights of {name} are not on this machine and could not be downloaded;"
            " connect it to the network once, name a local file of them, or train from scratch:"
            " encoder_weights=None"
        ) from error
    except (RuntimeError, ValueError) as error:  # a timm name that does not exist, an encoder that cannot be dilated
        raise ValueError(f"the encoder {name} cannot carry a DeepLabV3: {error}") from error
    if file:
        _load_encoder(network.encoder, file, name)
    return network


def _load_encoder(encoder: nn.Module, file: Path, name: str) -> None:
    """Weights as torchvision or timm store them; those of a classifier on top are left out."""
    if not file.is_file():
        raise ValueError(f"{file} is no file; encoder_weights is a file of the weights of {name}, or their name")
    try:
        weights = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
        weights = {key: tensor for key, tensor in weights.items() if not key.startswith(("fc.", "classifier."))}
        holder = cast(nn.Module, encoder.model) if name.startswith("tu-") else encoder
        lacking = set(holder.state_dict()) - set(weights)
        if lacking:
            raise ValueError(f"it lacks {len(lacking)} tensors, such as {min(lacking)}")
        holder.load_state_dict({key: weights[key] for key in holder.state_dict()})
    except (SafetensorError, RuntimeError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{file} does not hold the weights of the encoder {name}: {reason}") from error


def _check_encoder(name: str, weights: str | None) -> None:
    if name.startswith("tu-"):
        return
    if name not in ENCODERS:
        known = [known for known in ENCODERS if not known.startswith("timm-")]  # deprecated: each has a tu- name
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5) or known
        raise ValueError(f"there is no encoder {name!r}; there are {', '.join(near)}, and timm's models as tu-NAME")
    known = list(ENCODERS[name]["pretrained_settings"])
    if weights is not None and weights not in known:
        raise ValueError(f"{name} has no weights {weights!r}; encoder_weights is None or one of {', '.join(known)}")

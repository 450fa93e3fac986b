"""The layers of a network as segmentation_models_pytorch makes them, and the weights that its encoder begins with."""

import difflib
import pickle
from pathlib import Path
from typing import cast

import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.encoders import encoders as ENCODERS
from torch import nn

from deeplab.errors import DownloadError, NetworkError
from deeplab.settings import Network

_OURS = "network.encoder."  # before the encoder's tensors in a file that deeplab.save() wrote
VARIANTS = {"v3": smp.DeepLabV3, "v3+": smp.DeepLabV3Plus}


def make_layers(shape: Network, classes: int) -> smp.DeepLabV3 | smp.DeepLabV3Plus:
    """Encoder, decoder and head. Raises NetworkError for an encoder or weights that there are not."""
    name, file = shape.encoder, shape.weights_file
    weights = None if file else shape.encoder_weights
    _check_encoder(name, weights)
    # a timm model's weights go by its own name, so that smp wants a flag here
    wanted = True if name.startswith("tu-") and weights else weights
    try:
        layers = VARIANTS[shape.variant](
            encoder_name=name,
            encoder_depth=shape.encoder_depth,
            encoder_weights=cast(str | None, wanted),
            encoder_output_stride=shape.output_stride,
            decoder_channels=shape.decoder_channels,
            decoder_atrous_rates=shape.atrous_rates,
            decoder_aspp_dropout=shape.aspp_dropout,
            classes=classes,
        )
    except OSError as error:
        raise DownloadError(
            f"the {weights} weights of {name} are not on this machine and could not be downloaded;"
            " connect it to the network once, name a local file of them, or leave encoder_weights out, to train from"
            " scratch"
        ) from error
    except (RuntimeError, ValueError) as error:  # a timm name that does not exist, an encoder that cannot be dilated
        raise NetworkError(f"the encoder {name} cannot carry a DeepLabV3: {error}") from error
    if file:
        _load_weights(layers.encoder, file, name)
    return layers


def _check_encoder(name: str, weights: str | None) -> None:
    if name.startswith("tu-"):
        return
    if name not in ENCODERS:
        known = [known for known in ENCODERS if not known.startswith("timm-")]  # deprecated: each has a tu- name
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5) or known
        raise NetworkError(f"there is no encoder {name!r}; there are {', '.join(near)}, and timm's models as tu-NAME")
    known = list(ENCODERS[name]["pretrained_settings"])
    if weights is not None and weights not in known:
        raise NetworkError(f"{name} has no weights {weights!r}; encoder_weights is None or one of {', '.join(known)}")


def _load_weights(encoder: nn.Module, file: Path, name: str) -> None:
    """Weights as torchvision or timm store them, a classifier on top left out, or those of a DeepLab's encoder."""
    if not file.is_file():
        raise NetworkError(f"{file} is no file; encoder_weights is a file of the weights of {name}, or their name")
    try:
        weights = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
        own = {key.removeprefix(_OURS): tensor for key, tensor in weights.items() if key.startswith(_OURS)}
        weights = own or {key: value for key, value in weights.items() if not key.startswith(("fc.", "classifier."))}
        holder = cast(nn.Module, encoder.model) if name.startswith("tu-") and not own else encoder
        lacking = set(holder.state_dict()) - set(weights)
        if lacking:
            raise ValueError(f"it lacks {len(lacking)} tensors, such as {min(lacking)}")
        holder.load_state_dict({key: weights[key] for key in holder.state_dict()})
    except (SafetensorError, RuntimeError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise NetworkError(f"{file} does not hold the weights of the encoder {name}: {reason}") from error

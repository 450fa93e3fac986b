"""Images and masks on their way to a network."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from deeplab.errors import BatchError

Batch = tuple[
    UInt8[np.ndarray, "b h w 3"] | UInt8[Tensor, "b h w 3"], UInt8[np.ndarray, "b h w"] | UInt8[Tensor, "b h w"]
]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]


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
    """Images as the network wants them, on the device; raises BatchError unless they are uint8 [b, h, w, 3]."""
    tensor = as_tensor(images)
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[-1] != 3:
        raise BatchError(f"images are {tensor.dtype} {list(tensor.shape)}; uint8 [batch, height, width, 3] is needed")
    return normalise(sent(tensor, device))


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; the host's are queued on the way to a GPU, so that nothing waits for them."""
    queued = device.type == "cuda" and tensor.device.type == "cpu"
    return tensor.pin_memory().to(device, non_blocking=True) if queued else tensor.to(device)


def check_masks(masks: Tensor, logits: Tensor, ignore_index: int) -> None:
    """Raises BatchError unless the masks have the logits' size and hold class ids and ignore_index alone."""
    batch, classes, *size = logits.shape
    if list(masks.shape) != [batch, *size]:
        raise BatchError(f"masks are {list(masks.shape)} where their images need {[batch, *size]}")
    highest = int(masks.masked_fill(masks == ignore_index, 0).max())
    if highest >= classes:
        raise BatchError(
            f"a mask holds class {highest}; the network has 0 to {classes - 1}, and {ignore_index} is ignored"
        )

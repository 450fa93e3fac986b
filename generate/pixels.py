"""The only place where model values in [-1, 1] and 8-bit pixels are turned into each other."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_model(images: UInt8[np.ndarray, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
    """8-bit RGB to float32 in [-1, 1]: 0 -> -1, 255 -> 1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def to_pixels(x: Float[Tensor, "b 3 h w"]) -> UInt8[np.ndarray, "b h w 3"]:
    """[-1, 1] to the nearest 8-bit RGB value, clamped; to_model is its inverse."""
    scaled = ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()

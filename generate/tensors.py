"""The one place that opens files of tensors. Nothing but tensors and plain containers is ever unpickled."""

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from generate.errors import CheckpointError

# What torch.load was seen to raise when bytes of its files were flipped or cut off.
_DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError)


def load_saved(path: str | Path, *, mmap: bool = False) -> Any:
    """What torch.save wrote, on the CPU; with `mmap` it is read as it is used, where the file's format allows it.

    Raises CheckpointError for a file that is missing, damaged, or that holds more than tensors and plain containers.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is not there; a file that torch.save wrote (.pt, .pth) is needed") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, or is cut short, and is not opened: unpickling could run its code"
        ) from error
    except (*_DAMAGE, struct.error) as error:
        if mmap and "mmap can only be used" in str(error):  # torch.save's format before 1.6
            return load_saved(path)
        raise CheckpointError(f"{path} cannot be read; it is cut short or no file of torch.save's ({error})") from error


def must_be_finite(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Raises CheckpointError for a weight that is nan or infinite, and names its tensor."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{path}: {name} has a value that is not finite; the file is damaged, or its training failed"
            )


def load_safetensors(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """The tensors of a .safetensors file. Raises CheckpointError for a file that is missing or damaged."""
    try:
        return load_file(path, device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); it is cut short or no safetensors file") from error

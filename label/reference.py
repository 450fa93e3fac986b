"""Open the classifiers that the public implementation of arXiv 2112.03126 writes: model_0.pth, model_1.pth, ..."""

import re
from pathlib import Path

import torch
from torch import Tensor

from generate import CheckpointError
from generate.tensors import load_saved
from label.errors import InterpreterError
from label.pixel_classifiers import PixelClassifiers

_LAYERS = {"linear_1": 0, "norm_1": 2, "linear_2": 3, "norm_2": 5, "linear_3": 6}  # 1 and 4 are ReLUs
_PREFIX = "module.layers."
_MEMBER = re.compile(r"model_(\d+)\.pth")


def load_reference(folder: Path, channels: int, classes: int) -> PixelClassifiers:
    """All members of a folder as one module, of the published widths for so many classes.

    Nothing but tensors is unpickled. Raises InterpreterError in one sentence for a folder without members, a member
    that is missing, a file that is no member, and a member of other features or classes.
    """
    numbers = sorted(int(match[1]) for path in folder.glob("model_*.pth") if (match := _MEMBER.fullmatch(path.name)))
    if not numbers:
        raise InterpreterError(f"{folder} holds no model_0.pth; the published classifiers' folder is needed")
    missing = [f"model_{i}.pth" for i in range(numbers[-1] + 1) if i not in numbers]
    if missing:
        raise InterpreterError(
            f"{folder} holds model_{numbers[-1]}.pth, but not {', '.join(missing)}; copy all members"
        )
    classifiers = PixelClassifiers(len(numbers), channels, classes)
    state = classifiers.state_dict()
    for member in numbers:
        path = folder / f"model_{member}.pth"
        came = _state_dict(path)
        for name, target in state.items():
            target[member] = _fitting(path, came, name, target.shape[1:], f"{classes} classes on {channels} channels")
    return classifiers


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_saved(path)["model_state_dict"])
    except CheckpointError as error:
        raise InterpreterError(str(error)) from error
    except (LookupError, TypeError, ValueError) as error:
        raise InterpreterError(f"{path} is no published classifier: it has no model_state_dict") from error


def _fitting(path: Path, came: dict[str, Tensor], name: str, shape: torch.Size, wanted: str) -> Tensor:
    """The tensor of `came` that stands for ours of this name."""
    module, _, leaf = name.partition(".")
    theirs = f"{_PREFIX}{_LAYERS[module]}.{leaf}"
    tensor = came.get(theirs)
    if not isinstance(tensor, Tensor):
        raise InterpreterError(f"{path} is no published classifier: it has no tensor {theirs}")
    if tensor.shape != shape:
        raise InterpreterError(
            f"{path} was trained on other features or classes: {theirs} is {list(tensor.shape)}, and {wanted} "
            f"need {list(shape)}"
        )
    return tensor

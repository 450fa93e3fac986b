"""The networks of a latent diffusion model from its files: built without weights, and filled when all of them fit."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from generate.checkpoint import UNBUILT, differences, renamed
from generate.errors import CheckpointError
from generate.identity import read_json
from generate.latent_files import LatentFiles
from generate.tensors import load_safetensors, load_saved, must_be_finite

_NUMBERS = "position_ids"  # 0, 1, 2, ..., which old files hold, too


def open_network(kind: Any, files: LatentFiles, part: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A part as diffusers or transformers build it. Raises CheckpointError for weights that are not all of it."""
    network = built(kind, files.config(part))
    filled(network, tensors_of(files.weights(part), device), files.weights(part), dtype)
    return network


def built(kind: Any, config: Path) -> nn.Module:
    """The network of a configuration, on no device."""
    build: Callable[[dict[str, Any]], Any] = kind.from_config if hasattr(kind, "from_config") else kind
    try:
        with torch.device("meta"):
            return build(read_json(config))
    except UNBUILT as error:
        raise CheckpointError(f"{config} does not describe a {kind.__name__}: {error}") from error


def filled(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    path: Path,
    dtype: torch.dtype,
    name_of: Callable[[str], str] = renamed,
) -> None:
    """Take the tensors as weights. Raises CheckpointError where they are not all of the network's.

    `name_of` gives a name of any version, of the file or of the network, the form in which the two are compared.
    """
    names = {name_of(name): name for name in network.state_dict()}
    wanted = {name_of(name): tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    came = {name_of(name): tensor for name, tensor in tensors.items() if not name.endswith(_NUMBERS)}
    wrong = differences(wanted, {name: tuple(tensor.shape) for name, tensor in came.items()})
    if wrong:
        raise CheckpointError(f"{path} is of another shape than config.json says: {wrong}")
    must_be_finite(came, path)
    network.load_state_dict({names[name]: tensor.to(dtype) for name, tensor in came.items()}, assign=True)


def tensors_of(path: Path, device: torch.device) -> dict[str, Tensor]:
    """The tensors of a file by name. Raises CheckpointError for one that holds anything else."""
    if path.suffix == ".safetensors":
        return load_safetensors(path, device)
    state = load_saved(path, mmap=True)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f"{path} is no state_dict, which maps names to tensors")
    return {name: tensor.to(device) for name, tensor in state.items()}

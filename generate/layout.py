"""The order in memory in which a device's convolutions and norms run fastest."""

import torch


def fastest_layout(device: torch.device) -> torch.memory_format:
    """Of a UNet's tensors: channels last on a processor.

    On a GPU channels first: PyTorch's group norm has no other there, and would copy what goes into each and comes out.
    """
    return torch.contiguous_format if device.type == "cuda" else torch.channels_last

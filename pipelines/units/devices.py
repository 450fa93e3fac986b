"""Where networks run, and how a process computes there."""

import socket

import torch


def set_up(device: str) -> None:
    """How this process computes on a GPU: float32 products as TF32, and every convolution's sums in one order."""
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.deterministic = True


def needed_device(device: str | None) -> str:
    """The device, or the GPU if there is one. Raises RuntimeError where a GPU is needed and none is shown."""
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise RuntimeError(
            f"{socket.gethostname()} shows this process no CUDA device, though one is needed; "
            'repair its driver, or set cluster.device = "cpu"'
        )
    return device or ("cuda" if has_gpu else "cpu")


def device() -> str:
    """Where the networks run: the GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"

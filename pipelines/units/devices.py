"""Where networks run, and how a process computes there."""

import ctypes
import os
import socket
import sys

import torch

_LARGEST = 32 * 2**20  # bytes: the largest piece that glibc's malloc, if it may, takes from what was freed
_ALL = 2**31 - 1  # bytes: the most that it can be told to keep
_MALLOPT = {"M_MMAP_THRESHOLD": (-3, _LARGEST), "M_TRIM_THRESHOLD": (-1, _ALL), "M_ARENA_MAX": (-8, 1)}  # malloc.h


def set_up(device: str) -> None:
    """How this process computes.

    On a GPU: float32 products as TF32, and all sums in one order, with a warning where an operation has none. On a
    processor: what is freed stays the process's own, for its next use. The kernel, given it back, zeroes each of its
    pages before that, which is a third of a training step of DeepLab; a thread beside the main one would have an arena
    that always gives it back.
    """
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS may split sums by what is free
        torch.use_deterministic_algorithms(True, warn_only=True)  # of cuDNN as well
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nobody reads it
    elif sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        for parameter, value in _MALLOPT.values():
            mallopt(parameter, value)


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

"""A GPU that computes nothing: its tensors have shapes only, the host's are real, and every wait for it is noted.

What the host queues there, it queues as it would on a real one, so that mixed devices, and the steps at which the
host and a GPU would wait for each other, are found on a machine that has none.
"""

import traceback
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_SMALL = 2**16  # bytes; so much unpinned memory is copied into the queue itself
_ALWAYS = ("linalg_solve", "nonzero", "masked_select", "unique")  # operations whose result the host reads


class PretendedGPU(TorchDispatchMode):
    """Inside the context device "cuda" exists. `waits` lists where the host waited for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._pinned: dict[int, Tensor] = {}  # by address, kept so that no other tensor comes to lie there

    def __enter__(self) -> "PretendedGPU":
        self._fake.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._fake.__exit__(kind, error, trace)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_gpu = any(isinstance(tensor, FakeTensor) for tensor in tensors)
        device = kwargs.get("device")
        if not on_gpu and (device is None or torch.device(device).type == "cpu"):
            return self._on_host(func, args, kwargs)
        if func in (torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default):
            self._note("item")
            with unset_fake_temporarily():
                return torch.zeros((), dtype=args[0].dtype).item()
        name, copies = str(func), func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        out = func(*args, **kwargs)
        if any(part in name for part in _ALWAYS):
            self._note(name)
        if copies and not isinstance(tensors[-1], FakeTensor):
            source, queued = tensors[-1], bool(kwargs.get("non_blocking") or True in args[2:])
            if not (queued and (source.untyped_storage().data_ptr() in self._pinned or source.nbytes <= _SMALL)):
                self._note(name)
        if copies and isinstance(out, FakeTensor) and out.device.type == "cpu":
            self._note(name)
            with unset_fake_temporarily():
                return torch.zeros(out.shape, dtype=out.dtype)
        return out

    def _on_host(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        pinned = bool(kwargs.pop("pin_memory", False)) or func == torch.ops.aten._pin_memory.default
        with unset_fake_temporarily():
            out = args[0].clone() if func == torch.ops.aten._pin_memory.default else func(*args, **kwargs)
        if pinned:
            self._pinned[out.untyped_storage().data_ptr()] = out
        return out

    def _note(self, what: str) -> None:
        ours = [f for f in traceback.extract_stack() if "/torch/" not in f.filename and f.filename != __file__]
        self.waits.append(f"{what} at {ours[-1].filename}:{ours[-1].lineno}: {ours[-1].line}")

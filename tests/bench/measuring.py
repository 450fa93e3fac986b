"""What the benchmarks share: ways timed in turn, the device's ceiling, and the last line as JSON."""

import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass
class Timed:
    """A way of doing something, what it gave last, and its seconds, round by round."""

    run: Callable[[], Any]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)  # of all threads; on a busy machine the steadier figure
    result: Any = None

    @property
    def best(self) -> float:
        return min(self.seconds)

    @property
    def best_cpu(self) -> float:
        return min(self.cpu_seconds)


def alternate(ways: dict[str, Callable[[], Any]], rounds: int, device: str) -> dict[str, Timed]:
    """Run all ways in turn, `rounds` times, so that whatever else the machine does falls on all of them."""
    timed = {name: Timed(run) for name, run in ways.items()}
    for _ in range(rounds):
        for way in timed.values():
            start, cpu_start = time.perf_counter(), time.process_time()
            way.result = way.run()
            synchronise(device)
            way.seconds.append(time.perf_counter() - start)
            way.cpu_seconds.append(time.process_time() - cpu_start)
    return timed


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def matmul_rate(device: str, dtype: torch.dtype, side: int | None = None) -> float:
    """Operations a second of a large square matrix product, the best of a few: the ceiling of this run."""
    side = side or (8192 if device == "cuda" else 1536)
    left = torch.randn(side, side, device=device).to(dtype)
    timed = alternate({"product": lambda: left @ left}, 6, device)["product"]
    return 2 * side**3 / timed.best


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def hardware(device: str) -> str:
    """The device by name; of a CPU also what it has for bf16, without which bf16 is emulated and slow."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    found = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    bf16 = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in found.get("flags", "").split()]
    name = found.get("model name", platform.processor())
    return f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, {name}, bf16: {', '.join(bf16) or 'none'}"


def commit() -> str:
    """The commit that is measured, with a mark when the tree differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return found.stdout.strip() or "unknown"


def peak_memory() -> float:
    """Bytes of host memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def show(title: str, rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table; the first row is its head."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    print(f"\n{title}\n")
    for number, row in enumerate(cells):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def finish(what: str, device: str, settings: dict[str, Any], figures: dict[str, Any]) -> None:
    """Print the last line: everything as one JSON object."""
    about = {"what": what, "hardware": hardware(device), "torch": torch.__version__, "commit": commit()}
    load = {"load_average": round(os.getloadavg()[0], 1)}
    print("\n" + json.dumps({**about, **load, "settings": settings, **figures}))

"""Samples a second from shards to COCO and to Parquet, and the memory that it takes, beside the plain reading of them.

Regime: an export that copies compressed images is bounded by reading tars and writing files; COCO decodes masks and
packs their run lengths as well. Each export is the command itself with its processes; memory is that of all of them
together, and is taken for a tenth of the samples too: flat means that ten times the samples take no more.

    python tests/bench/bench_export.py [--samples 10000 --size 128] [--workers 2]
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import measuring
import psutil
from bench_input import noisy_faces

from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.shards import checked_shards, decode, kept_records

COMMAND = [sys.executable, "-c", "from pipelines.cli import main; main()", "export"]
FORMATS = ("coco", "huggingface")


def reading(folder: Path, *, decoded: bool) -> float:
    """Samples a second of one process that reads all shards, and does nothing with them."""
    start, records = time.perf_counter(), kept_records(checked_shards(take_inventory(folder)))
    samples: Iterable[object] = map(decode, records) if decoded else records
    return sum(1 for _ in samples) / (time.perf_counter() - start)


def exporting(folder: Path, out: Path, name: str, samples: int, workers: int) -> tuple[float, float]:
    """Seconds of the command for so many samples, and the peak of the memory of all its processes, in bytes."""
    options = ["--format", name, "--out", str(out), "--workers", str(workers), "--where", f"seed < {samples}"]
    start = time.perf_counter()
    process = subprocess.Popen([*COMMAND, str(folder), *options], stdout=subprocess.DEVNULL)
    peak: list[float] = [0.0]
    watch = threading.Thread(target=_watch, args=(process.pid, peak))
    watch.start()
    if process.wait():
        raise SystemExit(f"the export to {name} failed")
    seconds = time.perf_counter() - start
    watch.join()
    return seconds, peak[0]


def _watch(number: int, peak: list[float]) -> None:
    while True:
        try:
            first = psutil.Process(number)
            resident = [process.memory_info().rss for process in [first, *first.children(recursive=True)]]
        except psutil.NoSuchProcess:
            if not psutil.pid_exists(number):
                return
            continue
        if first.status() == psutil.STATUS_ZOMBIE:
            return
        peak[0] = max(peak[0], sum(resident))
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "dataset"
        folder.mkdir()
        noisy_faces(folder, options.size, options.samples)
        reading(folder, decoded=False)  # warms the page cache
        figures: dict[str, object] = {
            "read_s": reading(folder, decoded=False),
            "read_and_decoded_s": reading(folder, decoded=True),
        }
        rows: list[tuple[object, ...]] = [("way", "samples/s", "memory, a tenth, MiB", "memory, all, MiB")]
        rows += [(way, f"{rate:.0f}", "", "") for way, rate in figures.items()]
        for name in FORMATS:
            _, few = exporting(folder, Path(temporary) / f"{name}-few", name, options.samples // 10, options.workers)
            seconds, all_of_them = exporting(folder, Path(temporary) / name, name, options.samples, options.workers)
            rate = options.samples / seconds
            figures[name] = {"samples_s": rate, "bytes_of_a_tenth": few, "bytes": all_of_them}
            rows.append((name, f"{rate:.0f}", f"{few / 2**20:.0f}", f"{all_of_them / 2**20:.0f}"))
    measuring.show(f"{options.samples} samples of {options.size}x{options.size}, {options.workers} processes", rows)
    measuring.finish("export", "cpu", vars(options), figures)


if __name__ == "__main__":
    main()

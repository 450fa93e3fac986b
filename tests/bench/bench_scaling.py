"""How near to ideal the pool scales: `python tests/bench/bench_scaling.py [--real runs/demo]`.

Simulated: an actor sleeps in place of the networks, then commits a shard of the demo's size (360 kB, forty candidates
in its report) with fsync and rename. Ideal is actors / seconds of sleep. What is lost is Ray, our driver, the disk and,
with many actors on few cores, the wake-up of the processes. Measured between the first unit of the last actor and the
last unit that began with all actors at work. Driver CPU is the share of one core that the driver's process takes.

Real, with the folder of a finished demo: the shipped model, as a bare loop, with one actor and with two; a thread each.
The last line is JSON.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}

from cluster import Done, Resources, connect, run_units

SLEEP = 4.0
WAVES = 5
TAR, REPORT = 360_000, 6_000  # bytes


@dataclass(frozen=True)
class Asleep:
    """A unit is a sleep and a commit; nothing of ours is imported, so that 64 processes fit into memory."""

    folder: str

    def __call__(self) -> Callable[[int], int]:
        return self.make

    def make(self, unit: int) -> int:
        time.sleep(SLEEP)
        for suffix, size in (("tar", TAR), ("json", REPORT)):
            path = Path(self.folder) / f"shard-{unit:06d}.{suffix}"
            temporary = path.with_suffix(f".{suffix}.tmp")
            with open(temporary, "wb") as file:
                file.write(bytes(size))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        return os.getpid()


def simulated(actors: int) -> dict[str, float]:
    """Share of ideal throughput, and the driver's share of a core, once all actors work."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        seen: set[int] = set()
        moments: list[float] = []
        cpu = begin = 0.0
        outcomes = run_units(Asleep(folder), range(10**6), actors=actors, resources=Resources(cpus=0.01))
        for outcome in outcomes:
            assert isinstance(outcome, Done)
            if len(seen) < actors:
                seen.add(outcome.result)
                cpu, begin = driver_seconds(), time.monotonic()
                continue
            moments.append(time.monotonic())
            if len(moments) == WAVES * actors:
                break
        outcomes.close()
    elapsed = moments[-1] - begin
    share = WAVES * actors * SLEEP / actors / elapsed
    return {"actors": actors, "share": round(share, 3), "driver_cpu": round((driver_seconds() - cpu) / elapsed, 3)}


def driver_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def real(out: Path) -> dict[str, float]:
    """Candidates a second of the shipped model."""
    from pipelines import Recipe
    from pipelines.units.builder import build, planned

    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = (f'paths.out="{out}"', f'paths.dataset="{folder}"', "generate.unit_size=10")
        builder = partial(build, planned(Recipe.load("demo", settings)))
        make = builder()
        make(0)
        begin = time.monotonic()
        for unit in range(4):
            make(unit)
        rates["bare loop"] = 40 / (time.monotonic() - begin)
        for actors in (1, 2):
            outcomes = run_units(builder, range(5 * actors), actors=actors, resources=Resources(cpus=1))
            moments = [time.monotonic() for _ in outcomes]
            first, counted = moments[actors - 1], len(moments) - actors
            rates[f"{actors} actors"] = 10 * counted / (moments[-1] - first)
    return {name: round(rate, 3) for name, rate in rates.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actors", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--real", type=Path, help="The folder of a finished demo, for its interpreter.")
    asked = parser.parse_args()
    rows, rates = [], {}
    with connect(cpus=2, gpus=0):
        for actors in asked.actors:
            rows.append(simulated(actors))
            print(rows[-1], flush=True)
        if asked.real:
            rates = real(asked.real)
            print(rates, flush=True)
    print(json.dumps({"sleep": SLEEP, "cores": os.cpu_count(), "simulated": rows, "candidates_per_second": rates}))


if __name__ == "__main__":
    main()

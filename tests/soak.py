"""Kills at random moments until the time is up: `python tests/soak.py --minutes 20 --seed 0`.

Three nodes with a GPU each in their books; a driver makes a dataset of tiny images and is started again until it is
whole. Meanwhile actors, drivers and nodes are killed, drivers stopped, shards cut and bytes flipped. Every dataset
must have the sha256 of the one that a single process makes. After each comes a round over all other stages, which are
killed, changed, refused and given a full disk. The last line is JSON; the exit code is 1 on a difference.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
os.environ |= ENVIRONMENT | {"RAY_DEDUP_LOGS": "0", "PYTHONPATH": str(Path(__file__).parent.parent)}

import psutil  # noqa: E402  # the environment comes first
from conftest import make_finished, make_project  # noqa: E402
from disk_faults import completed  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402
from soaked_stages import StageRound, expectations, small_disk  # noqa: E402

from pipelines import Recipe  # noqa: E402
from pipelines.dataset.damage import damages, missing_units  # noqa: E402
from pipelines.dataset.inventory import take_inventory  # noqa: E402
from pipelines.stages.fit import fit  # noqa: E402
from pipelines.units.builder import build, planned  # noqa: E402

SETTINGS = (
    "generate.samples=240",
    "cluster.actors=auto",
    "cluster.gpus=1",
    "cluster.cpus=0.3",
    "cluster.device=cpu",
    "cluster.retries=5",
    "cluster.grace_seconds=3",
)
UNITS = 40
FAULTS = 20  # of a round; then it is left alone, for a driver needs longer to start than the next kill to come
QUICK = {"health_check_period_ms": 500, "health_check_failure_threshold": 3, "health_check_timeout_ms": 500}


@dataclass
class Soak:
    rng: random.Random
    project: Path
    cluster: Cluster
    expected: list[str]
    counts: Counter[str] = field(default_factory=Counter)

    def round(self, folder: Path) -> bool:
        """One dataset, from nothing to whole; whether it is what it must be."""
        while True:
            driver = self._start(folder)
            faults: list[Callable[[Path, subprocess.Popen[bytes]], None]]
            faults = [self.kill_actor, self.kill_actor, self.kill_driver, self.stop_driver, self.kill_node, self.damage]
            while driver.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    driver.wait(self.rng.uniform(2, 16))
                    break
                if sum(self.counts[fault.__name__] for fault in faults) >= FAULTS:
                    continue
                fault = self.rng.choice(faults)
                fault(folder, driver)
                self.counts[fault.__name__] += 1
            self.counts["drivers"] += 1
            self.counts[f"exit code {driver.returncode}"] += 1
            if driver.returncode == 0 and not damages(take_inventory(folder)) and not missing_units(folder):
                shards = sorted(folder.glob("shard-*.tar"))
                return [hashlib.sha256(path.read_bytes()).hexdigest() for path in shards] == self.expected

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        place = (f'paths.dataset="{folder}"', f'cluster.address="{self.cluster.address}"')
        settings = [part for setting in (*SETTINGS, *place) for part in ("--set", setting)]
        code = "from pipelines.cli import main; main()"
        recipe = str(self.project / "recipe.toml")
        command = [sys.executable, "-c", code, "generate", recipe, *settings, "--repair"]
        with (folder.parent / "drivers.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def kill_actor(self, folder: Path, driver: subprocess.Popen[bytes]) -> None:
        actors = [p for p in psutil.Process().children(recursive=True) if _is_actor(p)]
        if actors:
            self.rng.choice(sorted(actors, key=lambda p: p.pid)).kill()

    def kill_driver(self, folder: Path, driver: subprocess.Popen[bytes]) -> None:
        driver.kill()

    def stop_driver(self, folder: Path, driver: subprocess.Popen[bytes]) -> None:
        driver.send_signal(signal.SIGTERM)

    def kill_node(self, folder: Path, driver: subprocess.Popen[bytes]) -> None:
        node = self.rng.choice([n for n in self.cluster.worker_nodes if n is not self.cluster.head_node])
        self.cluster.remove_node(node, allow_graceful=False)
        add_node(self.cluster)

    def damage(self, folder: Path, driver: subprocess.Popen[bytes]) -> None:
        """Of a committed shard, once its driver is dead: --repair of the next must find it."""
        driver.kill()
        driver.wait()
        shards = sorted(folder.glob("shard-*.tar")) if folder.is_dir() else []
        if shards:
            path = self.rng.choice(shards)
            content = bytearray(path.read_bytes())
            content[self.rng.randrange(len(content))] ^= 1
            path.write_bytes(content[: self.rng.choice([len(content), len(content) // 2])])


def add_node(cluster: Cluster) -> None:
    """On a machine as busy as this a node may be too late for Ray; then another is started."""
    for _ in range(5):
        try:
            cluster.add_node(num_cpus=1, num_gpus=1)
            return
        except Exception as error:  # Ray raises no narrower one
            print(f"a node did not start: {error}", flush=True)
    raise RuntimeError("five nodes in a row did not start")


def _is_actor(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name().startswith("ray::Actor")
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    begin, rounds, right = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as home:
        project = make_project(Path(home))
        recipe = Recipe.load(project / "recipe.toml", SETTINGS)
        fit(recipe)
        make = build(planned(recipe))
        expected = [make(unit).sha256 for unit in range(UNITS)]
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": QUICK})
        for _ in range(3):
            add_node(cluster)
        finished = Path(home) / "finished" / "project"
        finished.mkdir(parents=True)
        make_finished(finished)
        expected_of = expectations(completed(finished), Path(home) / "undisturbed")
        total: Counter[str] = Counter()
        while time.monotonic() - begin < 60 * asked.minutes:
            seed = asked.seed + rounds
            soak = Soak(random.Random(seed), project, cluster, expected)
            folder = Path(home) / f"round-{seed}"
            folder.mkdir()
            same = soak.round(folder / "dataset")
            rounds, right = rounds + 1, right + same
            total += soak.counts
            print(f"seed {seed}: {'same' if same else 'DIFFERENT'}; {dict(soak.counts)}", flush=True)
            with small_disk(folder / "disk"):
                stages = StageRound(random.Random(seed), finished, folder / "disk", expected_of)
                same = stages.same()
            rounds, right = rounds + 1, right + same
            total += stages.counts
            print(f"seed {seed}, stages: {'same' if same else 'DIFFERENT'}; {dict(stages.counts)}", flush=True)
        cluster.shutdown()
    minutes = round((time.monotonic() - begin) / 60, 1)
    print(json.dumps({"rounds": rounds, "same": right, "minutes": minutes, **total}))
    return int(right != rounds)


if __name__ == "__main__":
    sys.exit(main())

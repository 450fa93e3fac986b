"""A round of the soak over the stages that one process does: killed, refused by the disk, on a full one, and changed.

Each stage is begun again and again, as another process, until its faults are used up; then it must make the bytes that
an undisturbed one makes. In between the recipe is another, whose work is killed as well.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conftest import copy_of
from disk_faults import ERRORS, STAGES, Stage, made
from forked import Forked

FAULTS = 5  # of a stage in a round
SOAKED = [stage for stage in STAGES if stage.name not in ("unit", "weights", "init")]
CHANGED = {
    "fit": "interpreter.seed=3",
    "sample": "generate.run_seed=3",
    "train-ddpm": "train_ddpm.seed=3",
    "train": "train.learning_rate=0.5",
    "evaluate": "train.seeds=[0]",
    "report": 'name="Others"',
}
REFUSED = """
import errno, random, sys
from pathlib import Path
from disk_faults import Disk
from pipelines.files import storage
from pipelines.cli import main

_, root, number, error, lasts, *sys.argv[1:] = sys.argv
sys.argv[0], storage.WAITS, first = "datasetddpm", (0.05,), int(number)
refused = range(first, sys.maxsize if lasts == "True" else first + 1)
disk = Disk(Path(root), error=getattr(errno, error), refused=refused)
with disk.watched():
    main()
"""


@dataclass
class StageRound:
    """Stage after stage, each in a copy of a finished project."""

    rng: random.Random
    finished: Path
    disk: Path
    expected: dict[str, dict[str, str]]  # what each stage makes, undisturbed
    counts: Counter[str] = field(default_factory=Counter)

    def same(self) -> bool:
        """Whether every stage ended with the bytes of an undisturbed one."""
        return [self._stage(stage) for stage in SOAKED] == [True] * len(SOAKED)

    @property
    def project(self) -> Path:
        """The copy of the stage at work."""
        return self.disk / "project"

    def _stage(self, stage: Stage) -> bool:
        shutil.rmtree(self.project, ignore_errors=True)
        copy_of(self.finished, self.project)
        place = self.project / stage.makes
        shutil.rmtree(place, ignore_errors=True)
        place.unlink(missing_ok=True)
        faults: list[Callable[[Stage], None]]
        faults = [self.killed, self.killed, self.stopped, self.refused, self.refused, self.full, self.changed]
        for _ in range(FAULTS):
            fault = self.rng.choice(faults)
            fault(stage)
            self.counts[fault.__name__] += 1
        process = self._begun(stage)
        if process.wait() != 0:
            print(f"{stage.name} does not go on: {process.said[-500:]}", flush=True)
            return False
        # what another recipe made of a network, or began, stays beside it under a name of its own
        own = {name: digest for name, digest in made(place).items() if "@" not in name and ".part-" not in name}
        is_same = own == self.expected[stage.name]
        if not is_same:
            print(f"{stage.name} made something else than it does undisturbed", flush=True)
        return is_same

    def _begun(self, stage: Stage, *settings: str) -> Forked:
        return Forked(*stage.words(self.project, *settings))

    def _ended(self, process: Forked, number: int) -> None:
        with contextlib.suppress(TimeoutError):
            process.wait(self.rng.uniform(0.05, 3))
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        self._told(process)

    def _told(self, process: Forked) -> None:
        code = process.wait(120)
        self.counts[f"exit code {code}"] += 1
        assert "Traceback" not in process.said, process.said

    def killed(self, stage: Stage) -> None:
        self._ended(self._begun(stage), signal.SIGKILL)

    def stopped(self, stage: Stage) -> None:
        self._ended(self._begun(stage), signal.SIGTERM)

    def changed(self, stage: Stage) -> None:
        """Another recipe is begun, and killed or not."""
        if stage.name in CHANGED:
            self._ended(self._begun(stage, CHANGED[stage.name]), signal.SIGKILL)

    def refused(self, stage: Stage) -> None:
        """By a storage that fails at some write, once or from then on."""
        faults = (str(self.rng.randrange(1, 120)), self.rng.choice(ERRORS), str(self.rng.random() < 0.5))
        self._told(Forked(self.project, *faults, *stage.words(self.project), code=REFUSED))

    def full(self, stage: Stage) -> None:
        """The disk has room for a few bytes."""
        with _filled(self.project, self.rng.randrange(0, 100_000)):
            self._told(self._begun(stage))


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of its own that a round can fill, where one may mount; else the folder, which never is full."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def _filled(project: Path, left: int) -> Iterator[None]:
    ballast = project.parent / "ballast"
    if os.path.ismount(project.parent):
        free = os.statvfs(project.parent)
        ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left)))
    try:
        yield
    finally:
        ballast.unlink(missing_ok=True)


def expectations(finished: Path, folder: Path) -> dict[str, dict[str, str]]:
    """What every stage makes of a finished project, undisturbed."""
    found = {}
    for stage in SOAKED:
        project = copy_of(finished, folder / stage.name / "project")
        place = project / stage.makes
        shutil.rmtree(place, ignore_errors=True)
        place.unlink(missing_ok=True)
        assert stage.run(project) == 0, stage.name
        found[stage.name] = made(place)
    return found

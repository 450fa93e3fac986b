"""How far a run is: counted by its driver, kept in the dataset's folder as run.json, and told to people."""

import json
import logging
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from generate.stored import STRICT, Natural, Seconds, StoredError, stored
from pipelines.files import storage
from pipelines.files.storage import Location
from pipelines.progress import duration
from pipelines.sections.generate import GenerateSection

RECENT = 300.0  # seconds that "now" means in a rate
JOURNAL = "run.json"

_log = logging.getLogger(__name__)


@dataclass
class Failure:
    """A unit that was given up."""

    __pydantic_config__ = STRICT

    unit: Natural
    reason: str
    attempts: Natural

    @property
    def sentence(self) -> str:
        return f"unit {self.unit} failed {self.attempts} times: {self.reason}"


@dataclass(frozen=True)
class _Journal:
    """What run.json holds: of a tally, what others than its own run read."""

    __pydantic_config__ = STRICT

    units: Natural
    samples: Natural
    failures: list[Failure]
    units_done: Natural = 0
    samples_done: Natural = 0
    heard: Natural = 0
    kept: Natural = 0
    alive: Natural = 0
    waiting: Natural = 0
    started: Seconds = 0.0
    updated: Seconds = 0.0
    pace: Seconds = 0.0
    batch_size: Natural = 0
    ended: str = ""


@dataclass
class Tally:
    """Units and samples, those of earlier runs included; the rates are this run's."""

    units: int  # of the plan
    samples: int  # candidates of the plan
    units_done: int = 0
    samples_done: int = 0
    heard: int = 0  # samples that this run has made
    kept: int = 0  # of those
    failures: list[Failure] = field(default_factory=list)
    alive: int = 0  # actors
    waiting: int = 0
    started: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    pace: float = 0.0  # samples a second when it was last written, measured by the run itself; 0 before the first
    batch_size: int = 0  # images at once, on the actor that has the least memory
    ended: str = ""  # how, in a word or a sentence; empty while it runs
    unheard: set[int] = field(default_factory=set)  # units of this run
    recent: deque[tuple[float, int]] = field(default_factory=deque)

    @classmethod
    def of(cls, settings: GenerateSection, missing: list[int]) -> "Tally":
        """Of a run that is to make these units, all others being there."""
        samples = settings.samples - sum(len(settings.seeds(unit)) for unit in missing)
        return cls(
            len(settings.units),
            settings.samples,
            units_done=len(settings.units) - len(missing),
            samples_done=samples,
            batch_size=settings.batch,
            unheard=set(missing),
        )

    def add(self, samples: int, kept: int) -> None:
        """A unit is done."""
        self.units_done += 1
        self.samples_done += samples
        self.heard += samples
        self.kept += kept
        self.recent.append((time.time(), samples))

    def rate(self) -> float:
        """Samples a second since this run began."""
        return self.heard / max(time.time() - self.started, 1e-6)

    def rate_now(self) -> float:
        """Samples a second in the last minutes."""
        now = time.time()
        while self.recent and self.recent[0][0] < now - RECENT:
            self.recent.popleft()
        return sum(samples for _, samples in self.recent) / max(min(RECENT, now - self.started), 1e-6)

    def rows(self) -> dict[str, str]:
        """All figures by name, as people read them."""
        rate, kept = self.rate_now() or self.rate(), f"{self.kept / self.heard:.1%}" if self.heard else "-"
        return {
            "units": f"{self.units_done} of {self.units}",
            "samples": f"{self.samples_done} of {self.samples}",
            "kept": kept,
            "samples/s": f"{self.rate_now():.2f} now, {self.rate():.2f} in all",
            "left": duration((self.samples - self.samples_done) / rate) if rate else "-",
            "actors": f"{self.alive} alive, {self.waiting} waiting",
            "failed": f"{len(self.failures)} units",
        }

    def line(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.rows().items())

    def numbers(self) -> dict[str, float]:
        """All figures by name, as metrics take them."""
        return {
            "units_done": self.units_done,
            "units_failed": len(self.failures),
            "samples_done": self.samples_done,
            "kept_share": self.kept / self.heard if self.heard else 0.0,
            "samples_per_second": self.rate_now(),
            "actors_alive": self.alive,
            "actors_waiting": self.waiting,
        }

    def write(self, folder: Location) -> None:
        """Keep it in the folder, where `status` reads it during the run and afterwards."""
        self.updated, self.pace = time.time(), self.rate_now() or self.rate()
        record = {name: value for name, value in asdict(self).items() if name not in ("recent", "unheard")}
        storage.write_whole(folder / JOURNAL, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())

    @classmethod
    def read(cls, folder: Location) -> "Tally | None":
        """The last run's; None when there was none, or where its file is damaged: the dataset does not depend on it."""
        try:
            return cls(**vars(stored(storage.read(folder / JOURNAL), _Journal)))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except StoredError as error:
            _log.warning("%s is no journal of a run, and is not read (%s)", folder / JOURNAL, error)
            return None


def ranges(units: Iterable[int]) -> str:
    """Units in few words: 0 to 3, 7, 9 to 12."""
    spans: list[list[int]] = []
    for unit in sorted(units):
        if spans and unit == spans[-1][1] + 1:
            spans[-1][1] = unit
        else:
            spans.append([unit, unit])
    words = [f"{first}" if first == last else f"{first} to {last}" for first, last in spans[:20]]
    return ", ".join(words) + (f" and {len(spans) - 20} more ranges" if len(spans) > 20 else "")

"""What all stages share: a record of what was made from what, so that nothing is made twice."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import RecipeError
from pipelines.recipe import digest_of
from pipelines.storage import Location

RECORD = "stage.json"


@dataclass(frozen=True)
class Outcome:
    """What a stage ended with."""

    what: str  # a clause for people: "an interpreter of 10 members"
    where: Location
    seconds: float
    fresh: bool  # false where it was found, not made
    failures: list[str] = field(default_factory=list)


@dataclass
class Record:
    """A stage's folder, the digest of all that its content depends on, and what it measured."""

    folder: Path
    digest: str
    results: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of(cls, folder: Path, inputs: dict[str, Any]) -> "Record":
        return cls(folder, digest_of(inputs))

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """The record of a finished stage. Raises RecipeError when there is none, or a damaged one."""
        path = folder / RECORD
        if not path.is_file():
            raise RecipeError(f"{folder} holds no finished stage; run the stages before this one first")
        try:
            stored = json.loads(path.read_text())
            return cls(folder, stored["digest"], stored["results"], stored["seconds"])
        except (ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{path} is no record of a stage; remove it, and run that stage again") from error

    def found(self) -> bool:
        """Whether the folder holds what these inputs make; if so, takes over its results."""
        if not (self.folder / RECORD).is_file():
            return False
        stored = Record.read(self.folder)
        if stored.digest != self.digest:
            return False
        self.results, self.seconds = stored.results, stored.seconds
        return True

    @contextmanager
    def making(self) -> Iterator[None]:
        """Time the block and, when it ends well, mark the folder as made."""
        start = time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / RECORD).unlink(missing_ok=True)
        yield
        self.seconds = time.perf_counter() - start
        record = {"digest": self.digest, "seconds": self.seconds, "results": self.results}
        temporary = self.folder / f".{RECORD}.tmp"
        temporary.write_text(json.dumps(record, indent=2) + "\n")
        temporary.replace(self.folder / RECORD)

    def outcome(self, what: str, *, fresh: bool) -> Outcome:
        return Outcome(what, self.folder, self.seconds, fresh)

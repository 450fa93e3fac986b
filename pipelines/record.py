"""What all stages share: a record of what was made from what, so that nothing is made twice."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import RecipeError
from pipelines.recipe import digest_of
from pipelines.storage import Location, write_whole

RECORD = "stage.json"
Results = dict[str, Any]  # what a stage measured, as JSON holds it


@dataclass(frozen=True)
class Outcome:
    """What a stage ended with."""

    clause: str  # for people: "an interpreter of 10 members"
    where: Location
    seconds: float
    fresh: bool  # false where it was found, not made
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """What lies in the folder of a finished stage, written there last."""

    digest: str  # of all that the folder's content depends on
    seconds: float
    results: Results

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """The record of a finished stage. Raises RecipeError when there is none, or a damaged one."""
        path = folder / RECORD
        if not path.is_file():
            raise RecipeError(f"{folder} holds no finished stage; run the stages before this one first")
        try:
            stored = json.loads(path.read_text())
            return cls(stored["digest"], stored["seconds"], stored["results"])
        except (ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{path} is no record of a stage; remove it, and run that stage again") from error


def recorded(folder: Path, inputs: dict[str, Any]) -> Record | None:
    """The folder's record, where it holds what these very inputs make. Raises RecipeError for a damaged one."""
    if not (folder / RECORD).is_file():
        return None
    record = Record.read(folder)
    return record if record.digest == digest_of(inputs) else None


def once(folder: Path, inputs: dict[str, Any], make: Callable[[], Results], *, clause: str) -> Outcome:
    """Fill the folder by `make`, unless it holds what the same inputs made.

    `inputs` is all that the content depends on. What `make` returns is kept in the record; while it works, the folder
    has none, so that a folder whose making was interrupted is made again.
    """
    if record := recorded(folder, inputs):
        return Outcome(clause, folder, record.seconds, fresh=False)
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    results = make()
    record = Record(digest_of(inputs), time.perf_counter() - start, results)
    write_whole(folder / RECORD, (json.dumps(asdict(record), indent=2) + "\n").encode())
    return Outcome(clause, folder, record.seconds, fresh=True)

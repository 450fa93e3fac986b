"""The folder of an export: begun, gone on with, complete.

What is written lies in `NAME.part-<digest>` until all of it is there; then it becomes `NAME`. The same command goes on
with it, and ends with the same bytes.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.digests import digest_of
from pipelines.errors import DatasetError
from pipelines.files.lease import leased
from pipelines.files.storage import write_whole
from pipelines.files.writable import must_be_writable
from pipelines.formats.choice import Chosen, ranks
from pipelines.formats.items import About, Pieces, Target
from pipelines.formats.making import PIECES, Task, Write, made
from pipelines.progress import follow
from pipelines.record import Outcome
from pipelines.stopping import Stopped

RECORD = ".export.json"  # what an export is of, written last


@dataclass(frozen=True)
class Format:
    """How one program has its datasets."""

    write: Write
    finish: Callable[[Target, Pieces, About], str]  # what is of all shards; what is to be said of it, as a clause
    extra: str = ""  # of our package
    needs: tuple[str, ...] = ()  # modules that the extra brings
    check: Callable[[About], None] = lambda about: None
    scratch: tuple[str, ...] = (PIECES,)  # folders that do not stay
    has_splits: bool = True
    has_instances: bool = False
    ranked: bool = False  # the most uncertain first


@dataclass(frozen=True)
class Export:
    """All that decides on the bytes of an export."""

    format: Format
    about: About
    chosen: Sequence[Chosen]
    shares: tuple[float, ...]
    inputs: dict[str, Any]  # the same as JSON, with digests for what is read

    @property
    def count(self) -> int:
        return sum(len(unit.seeds) for unit in self.chosen)

    def tasks(self, part: Path) -> list[Task]:
        places = ranks(self.chosen) if self.format.ranked else [None] * len(self.chosen)
        digits, write = len(str(self.count)), self.format.write
        return [
            Task(write, self.about, part, unit.unit, unit.shard, unit.seeds, self.shares, place, digits)
            for unit, place in zip(self.chosen, places, strict=True)
        ]

    def outcome(self, out: Path, note: str, seconds: float, *, fresh: bool) -> Outcome:
        clause = f"{self.count} labelled images as {self.inputs['format']}"
        return Outcome(f"{clause}, {note}," if note else clause, out, seconds, fresh)


def once(out: Path, export: Export, workers: int) -> Outcome:
    """Fill `out`, unless this very export is there. Raises DatasetError where something else is."""
    start, found = time.perf_counter(), _recorded(out, export.inputs)
    if found is not None:
        return export.outcome(out, found, 0.0, fresh=False)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out} is there already, and is not this export; name another --out, or remove it")
    must_be_writable(out.parent)
    part = out.with_name(f"{out.name}.part-{digest_of(export.inputs)[:8]}")
    with leased(out, beside=True):
        note = _recorded(part, export.inputs)
        if note is None:
            note = _filled(part, export, workers)
        for folder in export.format.scratch:
            shutil.rmtree(part / folder, ignore_errors=True)
        if out.is_dir():
            out.rmdir()
        part.rename(out)
    return export.outcome(out, note, time.perf_counter() - start, fresh=True)


def _recorded(folder: Path, inputs: dict[str, Any]) -> str | None:
    """What was said of this very export, where it lies in the folder; None otherwise."""
    try:
        stored = json.loads((folder / RECORD).read_bytes())
        return stored["note"] if stored["digest"] == digest_of(inputs) else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _filled(part: Path, export: Export, workers: int) -> str:
    """Make what is missing in the part, and then what is of all shards; its record comes last."""
    (part / PIECES).mkdir(parents=True, exist_ok=True)
    tasks = export.tasks(part)
    missing = [task for task in tasks if not task.is_done]
    before = export.count - sum(len(task.seeds) for task in missing)
    try:
        now = made(missing, workers)
        for _ in follow(now, export.count, "export", "images", before=before, count=lambda images: images):
            pass
        note = export.format.finish(Target(part), Pieces(tuple(task.piece for task in tasks)), export.about)
    except Stopped as stop:
        stop.add_note(f"what is done is kept in {part}")
        raise
    os.sync()  # what is renamed next outlives a power cut
    record = {**export.inputs, "digest": digest_of(export.inputs), "note": note}
    write_whole(part / RECORD, (json.dumps(record) + "\n").encode())
    return note

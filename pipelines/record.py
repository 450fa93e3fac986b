"""What stages share, all but `generate`: a record of what was made from what. Nothing is made twice, nothing is lost.

The folder of a stage is `NAME`, and holds what the last recipe made. While it is made it is `NAME.part-<digest>`, so
that only what is complete replaces what was there; that becomes `NAME@<digest>`, and comes back when a recipe asks for
its settings again. Each step is a rename, and whatever the state between two of them, the next run goes on from it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from generate.stored import STRICT, Natural, Seconds, StoredError, Tree, stored, stored_tree
from pipelines.digests import digest_of, first_difference
from pipelines.errors import LeaseError, RecipeError, StorageError
from pipelines.files.lease import Lease, leased
from pipelines.files.refusals import refusing
from pipelines.files.storage import (
    Location,
    is_temporary,
    make_folder,
    remove,
    remove_folder,
    rename,
    sync,
    write_whole,
)
from pipelines.files.writable import must_be_writable
from pipelines.progress import console

RECORD = "stage.json"
BEGUN = "begun.json"  # what an unfinished stage is made from
PROGRESS = "progress.json"  # how far its checkpoint is
CHECKPOINT = "checkpoint.pt"  # from which an unfinished stage goes on
Results = dict[str, Any]  # what a stage measured, as JSON holds it


@dataclass(frozen=True)
class Outcome:
    """What a stage ended with."""

    clause: str  # for people: "an interpreter of 10 members"
    where: Location
    seconds: float
    fresh: bool  # false where it was found, not made
    failures: list[str] = field(default_factory=list)


T = TypeVar("T")


def read_made(path: Path, kind: type[T], remedy: str) -> T:
    """A file that a stage wrote beside its record. Raises RecipeError, with the remedy, for one damaged or gone."""
    try:
        return stored(path.read_bytes(), kind)
    except (StoredError, OSError) as error:
        raise RecipeError(f"{path} cannot be read ({error}); {remedy}") from error


@dataclass(frozen=True)
class Record:
    """What lies in the folder of a finished stage, written there last."""

    __pydantic_config__ = STRICT

    digest: str  # of all that the folder's content depends on
    seconds: Seconds
    results: Tree
    inputs: Tree = field(default_factory=dict)  # what the digest is of
    files: dict[str, str] | None = field(default_factory=dict)
    """sha256 of what later stages read there, by relative name; None where they read nothing."""

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """The record of a finished stage. Raises RecipeError when there is none, or a damaged one."""
        path = folder / RECORD
        if not path.is_file():
            raise RecipeError(f"{folder} holds no finished stage; run the stage that makes it first")
        try:
            return stored(path.read_bytes(), cls)
        except (StoredError, OSError) as error:
            raise RecipeError(
                f"{path} is no record of a stage; remove it, and run that stage again ({error})"
            ) from error

    def fault(self, folder: Path) -> str:
        """A clause on the first file in the folder that is not what the stage wrote, or not known to be; "" for none.

        Records of earlier versions have no digests of files: what they are of is made again.
        """
        if self.files == {}:
            return f"{RECORD} has no digests of what was written"
        lost = (name for name, digest in (self.files or {}).items() if sha256_of(folder / name) != digest)
        return next((f"{name} is damaged or gone" for name in lost), "")


def sha256_of(path: Path) -> str:
    """Empty where there is no file that can be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if path.is_file() else ""
    except OSError:
        return ""


def recorded(folder: Path, inputs: dict[str, Any]) -> Record | None:
    """The folder's record, where it holds whole what these very inputs make. Raises RecipeError for a damaged one."""
    if not (folder / RECORD).is_file():
        return None
    record = Record.read(folder)
    return record if record.digest == digest_of(inputs) and not record.fault(folder) else None


def part_of(folder: Path, inputs: dict[str, Any]) -> Path:
    """Where what belongs into the folder is made of these inputs, until it is complete."""
    return folder.with_name(f"{folder.name}.part-{digest_of(inputs)[:8]}")


def parts_of(folder: Path) -> list[Path]:
    """All that was begun for the folder and not finished, of whatever settings."""
    return sorted(folder.parent.glob(f"{folder.name}.part-*"))


def complete(folder: Path, inputs: dict[str, Any]) -> Path | None:
    """Where what these inputs make lies complete: in the folder, or beside it, to be put there."""
    aside = folder.with_name(f"{folder.name}@{digest_of(inputs)[:8]}")
    return next((place for place in (folder, part_of(folder, inputs), aside) if recorded(place, inputs)), None)


def once(
    folder: Path,
    inputs: dict[str, Any],
    make: Callable[[Path], Results],
    *,
    clause: str,
    outputs: Sequence[str] | None = None,
) -> Outcome:
    """Fill the folder by `make`, unless what the same inputs made lies there or beside it.

    `inputs` is all that the content depends on, as JSON. `make` is given the folder to write into; what it returns is
    kept in the record. Files that `outputs`, patterns, name are what later stages read: where one is damaged or gone,
    the folder counts as not made; None where they read nothing. Raises LeaseError while another process makes it,
    StorageError where nothing can be written.
    """
    if record := recorded(folder, inputs):
        return Outcome(clause, folder, record.seconds, fresh=False)
    must_be_writable(folder.parent)
    with leased(folder, beside=True) as lease:
        found = complete(folder, inputs)
        place = found or _made(folder, inputs, make, outputs, lease)
        put(place, folder)
    return Outcome(clause, folder, Record.read(folder).seconds, fresh=found is None)


def _made(
    folder: Path, inputs: dict[str, Any], make: Callable[[Path], Results], outputs: Sequence[str] | None, lease: Lease
) -> Path:
    """The folder's part, filled: its record comes last. What cannot be gone on with does not stay, but another's."""
    start, part = time.perf_counter(), part_of(folder, inputs)
    _say_what_was_begun(folder, part, inputs)
    make_folder(part)
    for path in filter(lambda path: is_temporary(path.name), list(part.iterdir())):
        remove(path)
    write_whole(part / BEGUN, _json(inputs))
    try:
        with refusing(part):
            results = make(part)
        sync(part)  # what the rooms below wrote is on the disk before the record says so
    except BaseException as error:
        if (part / CHECKPOINT).is_file():
            error.add_note(f"its last checkpoint is kept in {part}{progress_of(part)}")
        elif not lease.lost:
            with suppress(StorageError, LeaseError):  # or the reason would not be told
                remove_folder(part)
                error.add_note(f"nothing half-made is kept of {folder}")
        raise
    written = sorted({path for pattern in outputs or () for path in part.glob(pattern) if path.is_file()})
    files = {path.relative_to(part).as_posix(): sha256_of(path) for path in written} if outputs else None
    record = Record(digest_of(inputs), time.perf_counter() - start, results, inputs, files)
    write_whole(part / RECORD, _json(asdict(record)))
    return part


def _say_what_was_begun(folder: Path, part: Path, inputs: dict[str, Any]) -> None:
    """Of the unfinished ones of other settings, which stay for a recipe that goes on with them."""
    for other in parts_of(folder):
        if other != part and (other / CHECKPOINT).is_file() and (other / BEGUN).is_file():
            difference = first_difference(_begun(other), inputs)
            console.print(f"{other} is unfinished, of another recipe: {difference}; it stays, and another is begun")


def _begun(part: Path) -> dict[str, Any]:
    """What an unfinished stage is made from; nothing where its file is damaged."""
    try:
        return stored_tree((part / BEGUN).read_bytes())
    except (StoredError, OSError):
        return {}


def put(place: Path, folder: Path) -> None:
    """Let what is complete be the folder; what was there stays beside it."""
    if place == folder:
        return
    for name in (BEGUN, PROGRESS):
        remove(place / name)
    if folder.exists():
        name = Record.read(folder).digest[:8] if (folder / RECORD).is_file() else f"unknown-{time.time_ns()}"
        if folder.is_dir() and not any(folder.iterdir()):
            remove_folder(folder)
        else:
            remove_folder(aside := folder.with_name(f"{folder.name}@{name}"))  # of the very same settings
            rename(folder, aside)
    rename(place, folder)


@dataclass(frozen=True)
class _Progress:
    """What PROGRESS holds."""

    __pydantic_config__ = STRICT

    done: Natural
    total: Natural
    noun: str


def keep_progress(part: Path, done: int, total: int, noun: str) -> None:
    """Beside a checkpoint: how far it is."""
    write_whole(part / PROGRESS, _json(asdict(_Progress(done, total, noun))))


def progress_of(part: Path) -> str:
    """As ", at update 400 of 1000"; "" where nothing is known of it."""
    try:
        known = stored((part / PROGRESS).read_bytes(), _Progress)
    except (StoredError, OSError):
        return ""
    return f", at {known.noun} {known.done} of {known.total}"


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()

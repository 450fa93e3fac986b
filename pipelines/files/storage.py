"""Files that are there whole or not at all: on a disk, or in any object store that fsspec opens.

A local file is written under a temporary name, synced and renamed; an object appears when its upload is complete.
All that a run changes goes through here. Where a folder is leased, a fence looks first whether it still is.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import ENOTSUP
from pathlib import Path
from typing import Any, TypeVar

from upath import UPath

from pipelines.errors import StorageError
from pipelines.files import disk, stores
from pipelines.files.disk import is_temporary as is_temporary  # of a file's name; for all who list folders
from pipelines.files.refusals import ANOTHER, LASTING, REPAIR, may_pass, refusing, trouble
from pipelines.files.stores import opened

Location = Path | UPath  # on this machine's disks, or elsewhere
Fence = Callable[[Location], None]
T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds between two tries
_AT_ONCE = 64  # objects that are read together
_fences: list[Fence] = []

_log = logging.getLogger(__name__)


def location(place: str | Path | UPath) -> Location:
    """A folder or file by its path or URL; what is on this machine becomes an absolute path. Raises InputError."""
    path = opened(place)
    if path.protocol in ("", "file", "local"):
        return Path(path.path).resolve()
    return path


@contextmanager
def fenced(fence: Fence) -> Iterator[None]:
    """For the length of the block, `fence` is called before anything changes, and raises where that may not be."""
    _fences.append(fence)
    try:
        yield
    finally:
        _fences.remove(fence)


def write_whole(path: Location, content: bytes) -> None:
    """Nobody ever sees a part of it. StorageError: the storage did not take it, not even after some patience."""
    _patiently(path, "written", lambda: _write(path, content))


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """For what writes its file itself, however large: the block fills the temporary file whose path is yielded.

    When the block ends well, that file is synced and takes the name `path`; otherwise nothing of it stays.
    Raises StorageError when the disk does not take it.
    """
    _ask_fences(path)
    with _refusing_to_write(path), disk.renamed(path) as temporary:
        yield temporary
        _ask_fences(path)


@contextmanager
def filling(path: Path) -> Iterator[Path]:
    """As `writing`, for a folder or a file that is made where nothing lies yet."""
    _ask_fences(path)
    with _refusing_to_write(path), disk.filled(path) as temporary:
        yield temporary
        _ask_fences(path)


def write_new(path: Location, content: bytes) -> None:
    """Write a file that is not there yet; of two that try, one raises FileExistsError.

    What an earlier try of this very call has put there, though its answer was lost, is no other's.
    """
    tries = 0

    def step() -> None:
        nonlocal tries
        tries += 1
        try:
            if isinstance(path, Path):
                disk.write_new(path, content)
            else:
                path.fs.pipe_file(path.path, content, mode="create")
        except FileExistsError:
            if tries == 1 or read(path) != content:
                raise

    _patiently(path, "written", step)


def make_folder(path: Path) -> None:
    """With all above it. Raises StorageError where it cannot be."""
    _ask_fences(path)
    with refusing(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # so /proc says that it takes none
            raise StorageError(f"{trouble(path, 'written', error)}; {ANOTHER}") from error


def rename(path: Path, to: Path) -> None:
    """What lies there has the other name afterwards, also after a power cut. Raises StorageError."""
    _ask_fences(to)
    with refusing(to):
        path.rename(to)
        disk.sync(to.parent)


def remove_folder(path: Path) -> None:
    """With all below it, if it is there. Raises StorageError where something stays."""
    _ask_fences(path)
    with refusing(path), suppress(FileNotFoundError):
        shutil.rmtree(path)


def sync(folder: Path) -> None:
    """Have the disk hold all that others wrote into the folder, before something says that it is whole."""
    with refusing(folder):
        disk.sync_all(folder)


def read(path: Location) -> bytes:
    """The file's bytes. FileNotFoundError when there is none."""
    return _patiently(path, "read", lambda: disk.read(path) if isinstance(path, Path) else path.read_bytes())


def read_stretch(path: UPath, start: int, end: int | None) -> bytes:
    """The bytes from `start` up to `end`, or all that follow. FileNotFoundError where there is no such file."""
    store: Any = path.fs
    return _patiently(path, "read", lambda: store.cat_file(path.path, start=start or None, end=end))


def read_all(paths: Sequence[Location]) -> Iterator[bytes]:
    """The bytes of each file, in order; objects of a store are fetched many at a time."""
    for start in range(0, len(paths), _AT_ONCE):
        several = paths[start : start + _AT_ONCE]
        distant = [path for path in several if not isinstance(path, Path)]
        if distant:
            yield from _patiently(distant[0].parent, "read", lambda distant=distant: stores.read_all(distant))
        else:
            yield from map(read, several)


def contents(place: UPath) -> dict[str, str]:
    """What changes when it is overwritten, of every file below a place of a store, by its name; a file's own is ""."""
    return _patiently(place, "listed", lambda: stores.contents(place))


def fetch(path: UPath, to: Path) -> None:
    """Copy a file of a store to this machine, in pieces."""
    _patiently(path, "read", lambda: path.fs.get_file(path.path, str(to)))


def sizes(folder: Location) -> dict[str, int]:
    """Bytes of every file in the folder by its name, from one listing; none for a folder that is not there."""
    return {name: size for name, (size, _) in _listing(folder).items()}


def ages(folder: Location) -> dict[str, float]:
    """Seconds since every file in the folder was written, by the clock of this machine."""
    return {name: time.time() - written for name, (_, written) in _listing(folder).items()}


def names(folder: Location) -> set[str]:
    """Names of all that is in the folder, from one listing without a look at each file."""
    if isinstance(folder, Path):
        return set(os.listdir(folder)) if folder.is_dir() else set()
    return set(_listing(folder))


def remove(path: Location) -> None:
    """Remove a file, if it is there."""
    _ask_fences(path)
    with suppress(FileNotFoundError):  # by its name, for a store's own way takes brackets for a pattern
        _patiently(path, "removed", lambda: path.unlink() if isinstance(path, Path) else path.fs.rm_file(path.path))


def _listing(folder: Location) -> dict[str, tuple[int, float]]:
    """Size and time of writing of every file."""
    return _patiently(
        folder, "listed", lambda: disk.listing(folder) if isinstance(folder, Path) else stores.listing(folder)
    )


def _write(path: Location, content: bytes) -> None:
    if not isinstance(path, Path):
        path.fs.pipe_file(path.path, content)
        return
    with disk.renamed(path) as temporary:
        temporary.write_bytes(content)


def _ask_fences(path: Location) -> None:
    for fence in tuple(_fences):
        fence(path)


@contextmanager
def _refusing_to_write(path: Path) -> Iterator[None]:
    """Only the file's own trouble: a FileNotFoundError in the block is the block's."""
    missing = not path.parent.is_dir()
    try:
        with refusing(path):
            yield
    except FileNotFoundError as error:
        if not missing:
            raise
        raise StorageError(f"{trouble(path, 'written', error)}; {ANOTHER}") from error


def _patiently(path: Location, doing: str, step: Callable[[], T]) -> T:
    """Try again where the storage may recover; after the last wait the trouble becomes a StorageError."""
    for wait in (*WAITS, None):
        if doing == "written":
            _ask_fences(path)
        try:
            return step()
        except Exception as error:  # sorted at once: every object store has exceptions of its own
            said = trouble(path, doing, error)
            if _is_of_place(error, doing):
                raise StorageError(f"{said}; {ANOTHER}") from error
            if not may_pass(error, path):
                raise
            if wait is None:
                raise StorageError(f"{said}; {REPAIR}") from error
            _log.warning("%s; tried again in %g s", said, wait)
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _is_of_place(error: Exception, doing: str) -> bool:
    """Whether no patience helps, since the place is wrong. What is not there is no trouble of reading it."""
    if isinstance(error, FileNotFoundError):
        return doing == "written"
    if doing == "read" and isinstance(error, NotADirectoryError):
        return False
    return isinstance(error, OSError) and error.errno in LASTING | {ENOTSUP}

"""Files that are there whole or not at all: on a disk, or in any object store that fsspec opens.

A local file is written under a temporary name, synced and renamed; an object appears when its upload is complete.
"""

import errno
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from upath import UPath

from pipelines.errors import StorageError

Location = Path | UPath  # on this machine's disks, or elsewhere
T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds between two tries
_TEMPORARY = ".tmp"
_REPAIR = "make room or repair it, then run it again"
_PASSING = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EFBIG", "ESTALE", "ETIMEDOUT")}
_CLIENTS = {"aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "requests"}
_CHANGING = ("size", "ETag", "md5Hash", "etag", "LastModified", "last_modified", "mtime")  # as stores name it
_AT_ONCE = 64  # objects that are read together

_log = logging.getLogger(__name__)


def location(place: str | Path | UPath) -> Location:
    """A folder or file by its path or URL; what is on this machine becomes an absolute path."""
    path = UPath(place)
    if path.protocol in ("", "file", "local"):
        return Path(path.path).resolve()
    return path


def write_whole(path: Location, content: bytes) -> None:
    """Nobody ever sees a part of it. StorageError: the storage did not take it, not even after some patience."""
    _patiently(path, "written", lambda: _write(path, content))


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """For what writes its file itself, however large: the block fills the temporary file whose path is yielded.

    When the block ends well, that file is synced and takes the name `path`; otherwise nothing of it stays.
    Raises StorageError when the disk does not take it.
    """
    try:
        with _renamed(path) as temporary:
            yield temporary
    except OSError as error:
        if error.errno not in _PASSING:
            raise
        raise StorageError(f"{_trouble(path, 'written', error)}; {_REPAIR}") from error


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that a killed process left half-written."""
    return name.startswith(".") and name.endswith(_TEMPORARY)


def write_new(path: Location, content: bytes) -> None:
    """Write a file that is not there yet; of two that try, one raises FileExistsError."""
    if isinstance(path, Path):
        _patiently(path, "written", lambda: _link(path, content))
    else:
        _patiently(path, "written", lambda: path.fs.pipe_file(path.path, content, mode="create"))


def read(path: Location) -> bytes:
    """The file's bytes. FileNotFoundError when there is none."""
    return _patiently(path, "read", path.read_bytes)


def read_all(paths: Sequence[Location]) -> Iterator[bytes]:
    """The bytes of each file, in order; objects of a store are fetched many at a time."""
    for start in range(0, len(paths), _AT_ONCE):
        several = paths[start : start + _AT_ONCE]
        first = several[0]
        if isinstance(first, Path):
            yield from map(read, several)
        else:
            keys = [str(first.fs._strip_protocol(str(path))) for path in several]
            contents: Any = _patiently(first.parent, "read", lambda fs=first.fs, keys=keys: fs.cat(keys))
            yield from (contents[key] for key in keys)


def contents(place: UPath) -> dict[str, str]:
    """Every file below a folder of a store by its relative name, with what changes when it is overwritten.

    A place that is a file has the one name ""; one where nothing is has none.
    """
    place.fs.invalidate_cache()
    root = str(place.fs._strip_protocol(str(place))).rstrip("/")
    listing: Any = _patiently(place, "listed", lambda: place.fs.find(place.path, detail=True))
    below = {path.removeprefix(root).strip("/"): file for path, file in listing.items() if not path.endswith("/")}
    if len(below) > 1:
        below.pop("", None)  # what some consoles make for an empty folder
    if list(below) == [""]:
        below = {"": _patiently(place, "listed", lambda: place.fs.info(place.path))}
    return {name: repr([file.get(key) for key in _CHANGING]) for name, file in below.items()}


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
    _patiently(path, "removed", lambda: path.unlink(missing_ok=True))


def _listing(folder: Location) -> dict[str, tuple[int, float]]:
    """Size and time of writing of every file."""
    if isinstance(folder, Path):
        return {name: (stat.st_size, stat.st_mtime) for name, stat in _files(folder)}
    folder.fs.invalidate_cache()  # others write here as well
    try:
        entries = _patiently(folder, "listed", lambda: folder.fs.ls(folder.path, detail=True))
    except FileNotFoundError:
        return {}
    files = [entry for entry in entries if entry["type"] == "file"]
    return {file["name"].rpartition("/")[2]: (file["size"] or 0, _written(file)) for file in files}


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another process renamed or removed it meanwhile
                if entry.is_file():
                    yield entry.name, entry.stat()


def _written(file: dict) -> float:
    """When an object was written; stores name that differently."""
    moments = [file[key] for key in ("LastModified", "mtime", "updated", "created") if key in file]
    if not moments:
        return 0.0
    return moments[0].timestamp() if hasattr(moments[0], "timestamp") else float(moments[0])


def _write(path: Location, content: bytes) -> None:
    if not isinstance(path, Path):
        path.fs.pipe_file(path.path, content)
        return
    with _renamed(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """As `writing`, with the disk's own errors."""
    temporary = _temporary(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)  # so that the name outlives a power cut as well


def _link(path: Path, content: bytes) -> None:
    """A hard link is made only where nothing of that name is, and with all of the content."""
    temporary = _temporary(path)
    try:
        temporary.write_bytes(content)
        _sync(temporary)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")


def _sync(path: Path) -> None:
    """Have the disk hold what a file or folder is now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _patiently(path: Location, doing: str, step: Callable[[], T]) -> T:
    """Try again where the storage may recover; after the last wait the trouble becomes a StorageError."""
    for wait in (*WAITS, None):
        try:
            return step()
        except Exception as error:  # sorted at once: every object store has exceptions of its own
            trouble = _trouble(path, doing, error)
            if doing == "written" and isinstance(error, FileNotFoundError | PermissionError):
                raise StorageError(f"{trouble}; name a place that exists and may be written to") from error
            if not _may_pass(error, path):
                raise
            if wait is None:
                raise StorageError(f"{trouble}; {_REPAIR}") from error
            _log.warning("%s; tried again in %g s", trouble, wait)
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _trouble(path: Location, doing: str, error: Exception) -> str:
    return f"{path} cannot be {doing}: {getattr(error, 'strerror', None) or str(error) or repr(error)}"


def _may_pass(error: Exception, path: Location) -> bool:
    """Whether it tells of the storage and not of us: full, read-only, slow, refusing, gone."""
    if isinstance(error, FileExistsError | FileNotFoundError):
        return False
    if isinstance(error, OSError):
        return not isinstance(path, Path) or error.errno in _PASSING
    return any(kind.__module__.partition(".")[0] in _CLIENTS for kind in type(error).__mro__)

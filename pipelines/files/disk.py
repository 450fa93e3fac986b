"""How a file or folder comes whole onto this machine's disks: under a name of its own, synced, then renamed."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = ".tmp"
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_NO_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EBADF}  # of a folder, on some file systems


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that a killed process left half-written."""
    return name.startswith(".") and name.endswith(_TEMPORARY)


def temporary_of(path: Path) -> Path:
    """A name beside `path` that nobody else has or knows."""
    return path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}{_TEMPORARY}")


@contextmanager
def renamed(path: Path) -> Iterator[Path]:
    """The block fills the temporary file that is yielded, which takes the name `path`; nothing, where it fails."""
    temporary = temporary_of(path)
    _exclusively(temporary, b"")  # a link that lies there is not followed
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    finally:
        discard(temporary)
    sync(path.parent)  # so that the name outlives a power cut as well


@contextmanager
def filled(path: Path) -> Iterator[Path]:
    """As `renamed` for a folder, or for what may be either: nothing lies yet where the block is to write."""
    temporary = temporary_of(path)
    try:
        yield temporary
        sync_all(temporary)
        temporary.replace(path)
    finally:
        discard(temporary)
    sync(path.parent)


def write_new(path: Path, content: bytes) -> None:
    """Raises FileExistsError where something of that name is; where there are hard links, all of the content is there
    at once."""
    temporary = temporary_of(path)
    _exclusively(temporary, content)
    try:
        _link(temporary, path, content)
    finally:
        discard(temporary)
    sync(path.parent)


def _link(temporary: Path, path: Path, content: bytes) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        if not _is_same(temporary, path):  # a network's answer that was lost, and the link asked for again
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _exclusively(path, content)


def _is_same(temporary: Path, path: Path) -> bool:
    try:
        return os.path.samefile(temporary, path)
    except OSError:
        return False


def _exclusively(path: Path, content: bytes) -> None:
    """Write a file that nobody made before; where that fails, it is not there."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            if content:
                os.fsync(file.fileno())
    except BaseException:
        discard(path)
        raise


def read(path: Path) -> bytes:
    """The file's bytes. A pipe or a device, on which one might wait for ever, is an OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.ENOTSUP, "it is a pipe or a device; a file is needed", str(path))
        return file.read()


def files_in(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Name and state of every file, one by one: of millions a dict would take gigabytes; none without the folder."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another process renamed or removed it meanwhile
                if entry.is_file():
                    yield entry.name, entry.stat()


def listing(folder: Path) -> dict[str, tuple[int, float]]:
    """Size and time of writing of every file; none for a folder that is not there."""
    return {name: (state.st_size, state.st_mtime) for name, state in files_in(folder)}


def copy_folder(source: Path, target: Path) -> None:
    """Copy all that lies in a folder; `shutil.copytree` would tell what a disk refuses as a list of texts."""
    for folder, _, names in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(Path(folder, name), place / name)


def sync(path: Path) -> None:
    """Have the disk hold what a file or folder is now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC or not stat.S_ISDIR(os.fstat(handle).st_mode):
            raise
    finally:
        os.close(handle)


def sync_all(place: Path) -> None:
    """Every file and folder below it, and itself."""
    for folder, _, names in os.walk(place):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                sync(path)
        sync(Path(folder))
    if not place.is_dir():
        sync(place)


def discard(place: Path) -> None:
    """Remove a file or folder as far as it goes, tried twice; what it is in the way of is told by another error."""
    for _ in range(2):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            with suppress(OSError):
                place.unlink(missing_ok=True)
                return

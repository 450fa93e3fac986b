"""What a storage refuses: which errors are its own, which of them may pass, and how they are told without secrets."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upath import UPath

from pipelines.errors import StorageError


def _numbers(*names: str) -> set[int]:
    return {getattr(errno, name) for name in names if hasattr(errno, name)}


_DISK = _numbers(
    *("ENOSPC", "EDQUOT", "EROFS", "EIO", "EFBIG", "ESTALE", "ETIMEDOUT", "EAGAIN", "EBUSY", "ENXIO", "ENODEV"),
    *("ENFILE", "EMFILE"),
)
_NETWORK = _numbers(
    *("ENOTCONN", "ECONNRESET", "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET")
)
PASSING = _DISK | _NETWORK
"""Errors of a disk, or of one in the network, that may be gone at the next try."""
LASTING = _numbers("EACCES", "EPERM", "ENOTDIR", "ENAMETOOLONG", "ELOOP")
"""Errors that say that the place is wrong."""
REPAIR = "make room or repair it, then run it again"
ANOTHER = "name a place that exists and may be written to"
_CLIENTS = {"aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "requests"}
_OF_RUST = re.compile(r"\(os error (\d+)\)")  # so the writer of safetensors tells a disk's error
_SECRETS = re.compile(r"(\b[\w+.-]+://)(?:[^/@\s]*@)?([^\s?#]*)(\?[^\s\"';,)]*)?")  # a user with password, and a query


def without_secrets(text: str) -> str:
    """The text with its URLs as they may be shown: without user, password and query, which hold keys and signatures."""
    return _SECRETS.sub(lambda url: url[1] + url[2] + ("?..." if url[3] else ""), text)


def trouble(path: Path | UPath, doing: str, error: BaseException) -> str:
    """A clause: which file, and why not."""
    why = getattr(error, "strerror", None) or str(error) or repr(error)
    return without_secrets(f"{path} cannot be {doing}: {why}")


def may_pass(error: Exception, path: Path | UPath) -> bool:
    """Whether it tells of the storage and not of us: full, read-only, slow, refusing, gone."""
    if isinstance(error, FileExistsError | FileNotFoundError):
        return False
    if isinstance(error, OSError):
        return not isinstance(path, Path) or error.errno in PASSING
    return any(kind.__module__.partition(".")[0] in _CLIENTS for kind in type(error).__mro__)


def of_disk(error: BaseException | None) -> OSError | None:
    """The disk's own error, or the one that torch's or safetensors' writers hide; None where it is no disk's."""
    if isinstance(error, OSError):
        return error if error.errno in _DISK | LASTING else None
    if found := _OF_RUST.search(str(error)):
        return OSError(int(found[1]), _said(str(error)))
    return of_disk(error.__cause__ or error.__context__) if type(error) is RuntimeError else None


def _said(text: str) -> str:
    return _OF_RUST.sub("", text).rpartition(": ")[2].strip()


@contextmanager
def refusing(place: Path | UPath) -> Iterator[None]:
    """Whatever writes in the block: what its disk refuses becomes a StorageError, which names the file or `place`."""
    try:
        yield
    except (ValueError, StorageError):
        raise
    except Exception as error:  # libraries have exceptions of their own for a full disk
        disk = of_disk(error)
        if disk is None:
            raise
        what = next((Path(name) for name in (disk.filename2, disk.filename) if isinstance(name, str)), place)
        remedy = ANOTHER if disk.errno in LASTING else REPAIR
        raise StorageError(f"{trouble(what, 'written', disk)}; {remedy}") from error

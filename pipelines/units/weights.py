"""The weights of a denoiser on this machine: where they lie, or a copy of what is at a URL.

Names in a listing come from whoever wrote it: what is fetched stays in its folder, else it is refused.
"""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from filelock import FileLock
from fsspec.utils import tokenize
from upath import UPath

from pipelines import storage
from pipelines.errors import RecipeError, StorageError
from pipelines.places import without_secrets
from pipelines.progress import console

_OF_HTTP = ("ETag", "Last-Modified", "Content-MD5", "Digest", "size")  # what a server says of a file's version
_ANSWER = 10.0  # seconds for a server to answer
_SEPARATORS = set("\\:\0")


def local_weights(place: Path | str) -> Path:
    """The path itself or, for a URL, the file or folder that was copied from there into the user's cache.

    Changed weights are fetched anew; where the storage cannot be asked, a whole copy stands in for them, and it is
    said. Raises RecipeError when the URL holds nothing or names files outside it, StorageError when the storage
    refuses.
    """
    if isinstance(place, Path):
        return place
    shown, remembered = without_secrets(place), _cache_folder() / "places" / tokenize(place)
    try:
        source = UPath(place)
        files = _listed(source)
    except (FileNotFoundError, ValueError, ImportError) as error:
        reason = without_secrets(str(error))
        raise RecipeError(f"paths.denoiser: {shown} cannot be opened: {reason}") from error
    except StorageError as error:
        if copy := _remembered(remembered):
            console.print(f"warning: {without_secrets(str(error))}; the copy in {copy} is used")
            return copy
        raise
    if not files:
        raise RecipeError(f"paths.denoiser: there is nothing at {shown}")
    if strange := [name for name in files if not is_name_below(name) and list(files) != [""]]:
        raise RecipeError(
            f"paths.denoiser: {shown} lists {strange[0]!r}, which is no file below it; nothing is fetched"
        )

    def fetch(part: Path) -> None:
        console.print(f"fetching {shown}")
        for name in sorted(files):
            target = part / name if name else part  # a source that is a file has the one name ""
            assert target.resolve().is_relative_to(part.resolve())
            target.parent.mkdir(parents=True, exist_ok=True)
            storage.fetch(source / name if name else source, target)

    name = PurePosixPath(urlsplit(place).path).name  # a signature, as some URLs have, is no part of it
    name = name if is_name_below(name) else "weights"
    return _noted(copied_once(tokenize(place, files), name, fetch), remembered)


def is_name_below(name: str) -> bool:
    """Whether it names a file below a folder, on any system: relative, and without a step up."""
    return all(_is_part(part) for part in name.split("/"))


def _is_part(part: str) -> bool:
    return part not in ("", ".", "..") and not _SEPARATORS & set(part) and part.isprintable() and len(part) < 200


def _listed(source: UPath) -> dict[str, str]:
    """Every file below the source by its relative name, with what changes when it is overwritten."""
    files = storage.contents(source)
    if not files:
        _must_answer(source)
    if not source.protocol.startswith("http") or list(files) == [""]:
        return files
    # links with which an index is sorted anew are no files of it; and an index says nothing of a file's version
    below = {name: str(source).rstrip("/") + f"/{name}" for name in files if not name.startswith(("?", "#"))}
    return {name: _version(source, url) if is_name_below(name) else "" for name, url in below.items()}


def _must_answer(source: UPath) -> None:
    """Raises StorageError where no web server is, which fsspec takes for a file that is not there."""
    address = urlsplit(str(source))
    if not address.scheme.startswith("http"):
        return
    try:
        port = address.port or {"http": 80, "https": 443}[address.scheme]
        socket.create_connection((address.hostname or "", port), timeout=_ANSWER).close()
    except (OSError, LookupError) as error:
        raise StorageError(f"{source} does not answer: {error}; try again when it does") from error


def _version(source: UPath, url: str) -> str:
    known = source.fs.info(url)
    return repr([known.get(key) for key in _OF_HTTP])


def _noted(copy: Path, note: Path) -> Path:
    """The copy, whose place is kept for when the storage cannot be asked."""
    note.parent.mkdir(parents=True, exist_ok=True)
    storage.write_whole(note, copy.relative_to(_cache_folder()).as_posix().encode())
    return copy


def _remembered(note: Path) -> Path | None:
    """The copy that was made last of a place, if it is there still."""
    try:
        name = note.read_text("utf-8")
    except (OSError, ValueError):
        return None
    copy = _cache_folder() / name
    return copy if is_name_below(name) and copy.exists() else None


def copied_once(key: str, name: str, write: Callable[[Path], None]) -> Path:
    """The copy of that name and key in this machine's cache, which `write` makes if it is not there.

    Of several processes that ask for the same, one writes and the others wait; a copy appears when it is whole. Copies
    stay until the user removes them.
    """
    folder = _cache_folder() / key
    copy, part = folder / name, folder / f"{name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not copy.exists():
            _remove(part)  # of a process that was killed
            write(part)
            part.replace(copy)
    return copy


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "datasetddpm"

"""The weights of a model on this machine: where they lie, or a copy of what is at a URL.

Names in a listing come from whoever wrote it: what is fetched stays in its folder, else it is refused.
"""

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from filelock import FileLock
from fsspec.utils import tokenize

from pipelines.errors import RecipeError, StorageError
from pipelines.files import storage
from pipelines.files.disk import discard
from pipelines.files.refusals import refusing, without_secrets
from pipelines.files.stores import opened
from pipelines.progress import console

_SEPARATORS = set("\\:\0")


def local_weights(place: Path | str, key: str = "paths.denoiser") -> Path:
    """The path itself or, for a URL, the file or folder that was copied from there into the user's cache.

    `key` is what the recipe calls it. Changed weights are fetched anew; where the storage cannot be asked, a whole copy
    stands in for them, and it is said. Raises RecipeError when the URL holds nothing or names files outside it,
    StorageError when the storage refuses.
    """
    if isinstance(place, Path):
        return place
    shown, newest = without_secrets(place), _cache_folder() / "newest" / tokenize(place)
    try:
        source = opened(place)
        files = storage.contents(source)
    except (FileNotFoundError, ValueError) as error:
        why = without_secrets(str(error))
        raise RecipeError(f"{key}: {shown} cannot be opened: {why}") from error
    except StorageError as error:
        return _copied_before(newest, error)
    if not files:
        raise RecipeError(f"{key}: there is nothing at {shown}")
    if strange := [name for name in files if name and not is_name_below(name)]:
        raise RecipeError(f"{key}: {shown} lists {strange[0]!r}, which is no file below it; nothing is fetched")

    def fetch(part: Path) -> None:
        console.print(f"fetching {shown}")
        for name in sorted(files):
            target = part / name if name else part  # a source that is a file has the one name ""
            assert target.resolve().is_relative_to(part.resolve())
            target.parent.mkdir(parents=True, exist_ok=True)
            storage.fetch(source / name if name else source, target)

    name = PurePosixPath(urlsplit(place).path).name  # a signature, as some URLs have, is no part of it
    copy = copied_once(tokenize(place, files), name if is_name_below(name) else "weights", fetch)
    if not newest.is_file() or newest.read_text("utf-8") != str(copy):
        storage.make_folder(newest.parent)
        storage.write_whole(newest, str(copy).encode())
    return copy


def is_name_below(name: str) -> bool:
    """Whether it names a file below a folder, on any system: relative, and without a step up."""
    return all(_is_part(part) for part in name.split("/"))


def _is_part(part: str) -> bool:
    return part not in ("", ".", "..") and not _SEPARATORS & set(part) and part.isprintable() and len(part) < 200


def _copied_before(newest: Path, error: StorageError) -> Path:
    """The last copy of a place that does not answer now. Raises the error where there is none."""
    copy = Path(newest.read_text("utf-8")) if newest.is_file() else None
    if copy is None or not copy.exists():
        raise error
    console.print(f"warning: {error}; the copy in {copy} is taken")
    return copy


def copied_once(key: str, name: str, write: Callable[[Path], None]) -> Path:
    """The copy of that name and key in this machine's cache, which `write` makes if it is not there.

    Of several processes that ask for the same, one writes and the others wait; a copy appears when it is whole. Copies
    stay until the user removes them.
    """
    folder = _cache_folder() / key
    copy = folder / name
    if copy.exists():
        return copy
    storage.make_folder(folder)
    with refusing(folder), FileLock(folder / "lock"):
        if not copy.exists():
            for left in filter(storage.is_temporary, os.listdir(folder)):
                discard(folder / left)  # of a process that was killed
            with storage.filling(copy) as part:
                write(part)
    return copy


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "datasetddpm"

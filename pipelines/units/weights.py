"""The weights of a denoiser on this machine: where they lie, or a copy of what is at a URL."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from fsspec.utils import tokenize
from upath import UPath

from pipelines import storage
from pipelines.errors import RecipeError
from pipelines.progress import console


def local_weights(place: Path | str) -> Path:
    """The path itself or, for a URL, the file or folder that was copied from there into the user's cache.

    Changed weights are fetched anew. Raises RecipeError when the URL holds nothing, StorageError when the storage
    refuses.
    """
    if isinstance(place, Path):
        return place
    try:
        source = UPath(place)
        files = storage.contents(source)
    except (FileNotFoundError, ValueError, ImportError) as error:
        raise RecipeError(f"paths.denoiser: {place} cannot be opened: {error}") from error
    if not files:
        raise RecipeError(f"paths.denoiser: there is nothing at {place}")

    def fetch(part: Path) -> None:
        console.print(f"fetching {place}")
        for name in sorted(files):
            target = part / name if name else part  # a source that is a file has the one name ""
            target.parent.mkdir(parents=True, exist_ok=True)
            storage.fetch(source / name if name else source, target)

    return copied_once(tokenize(place, files), source.name or "weights", fetch)


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

"""The weights of a denoiser on this machine: where they lie, or a copy of what is at a URL."""

import os
import secrets
import shutil
from pathlib import Path

from filelock import FileLock
from fsspec.utils import tokenize
from upath import UPath

from pipelines import storage
from pipelines.errors import RecipeError
from pipelines.progress import console


def local_weights(place: Path | str) -> Path:
    """The path itself or, for a URL, the file or folder that was copied from there into the user's cache.

    Of several processes that ask for the same, one fetches and the others wait. Changed weights are fetched anew.
    Raises RecipeError when the URL holds nothing, StorageError when the storage refuses.
    """
    if isinstance(place, Path):
        return place
    source = UPath(place)
    files = storage.contents(source)
    if not files:
        raise RecipeError(f"paths.denoiser: there is nothing at {place}")
    home = cache_folder() / tokenize(place, files)
    copy = home / source.name
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "lock"):
        if not copy.exists():
            console.print(f"fetching {place} to {copy}")
            _fetch(source, sorted(files), copy)
    return copy


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "datasetddpm"


def _fetch(source: UPath, files: list[str], copy: Path) -> None:
    """A copy appears when it is whole. The file of a source that is no folder has the empty name."""
    part = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}.part")
    try:
        for name in files:
            target = part / name if name else part
            target.parent.mkdir(parents=True, exist_ok=True)
            storage.fetch(source / name if name else source, target)
        part.replace(copy)
    finally:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)

"""Which photograph is which seed of a dataset, remembered from its beginning.

`photographs-000000.json` lists what was in the folder when the dataset was begun, the next one what had come when it
grew. A list is never rewritten, and of two drivers that write the same one comes first: so a seed keeps its photograph,
and what has changed or vanished since is known.
"""

import contextlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from generate import ImageError
from generate.photographs import Photograph
from generate.pictures import image_names
from generate.stored import STRICT, TOLERANT, Digest, StoredError, stored
from pipelines.dataset.members import grouped
from pipelines.errors import DatasetError
from pipelines.files import storage
from pipelines.files.storage import Location
from pipelines.files.writable import must_be_writable
from pipelines.progress import follow

_LIST = re.compile(r"photographs-[0-9]{6}\.json")
_SHOWN = 5  # mistakes that a message lists


def _below(path: str) -> str:
    if not path or "\0" in path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path!r} is no file below a folder")
    return path


Below = Annotated[str, AfterValidator(_below)]
Side = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class _Listed:
    """A photograph in a list."""

    __pydantic_config__ = STRICT

    path: Below
    sha256: Digest
    size: tuple[Side, Side]


@dataclass(frozen=True)
class _List:
    """What a list's file holds."""

    __pydantic_config__ = STRICT

    photographs: list[_Listed]


@dataclass(frozen=True)
class _Provenance:
    """What a sample says of its photograph."""

    __pydantic_config__ = TOLERANT

    photograph: str
    sha256: str
    size: tuple[int, int]


def remembered(folder: Location) -> list[Photograph]:
    """The photographs of a dataset by their seeds; none of a dataset that has none. Raises DatasetError."""
    photographs: list[Photograph] = []
    for path in lists(folder):
        try:
            photographs += listed(storage.read(path))
        except StoredError as error:
            raise DatasetError(f"{path} does not list photographs ({error}); restore it, or begin anew") from error
    return photographs


def listed(content: bytes) -> list[Photograph]:
    """What a list holds. Raises StoredError for anything else."""
    return [Photograph(each.path, each.sha256, each.size) for each in stored(content, _List).photographs]


def otherwise_listed(tar: bytes, photographs: list[Photograph]) -> str:
    """The first sample of a shard that is of another photograph than listed, as a clause; "" where none is."""
    for record in grouped(tar):
        seed = int(record["__key__"])
        try:
            said = stored(record["json"], _Provenance)
        except StoredError as error:
            return f"seed {seed} does not say of which photograph it is ({error})"
        if seed >= len(photographs):
            return f"seed {seed}, {said.photograph}, is in no list"
        if (wanted := photographs[seed]) != Photograph(said.photograph, said.sha256, said.size):
            return f"seed {seed} is {said.photograph} as it was, and {wanted.path} or another size or sha256 is listed"
    return ""


def must_remember(folder: Location, count: int) -> None:
    """Raises DatasetError where a dataset of so many photographs does not know them all, since a list is lost."""
    known = len(remembered(folder))
    if known < count:
        raise DatasetError(
            f"{folder} lists {known} of its {count} photographs: a photographs-*.json is lost, without which nobody "
            "knows which seed is which; restore it, or name another folder in paths.photographed"
        )


def remember(folder: Location, photographs: Path, most: int | None) -> list[Photograph]:
    """The same, after what has come into the folder of photographs is appended, in sorted order, up to `most` in all.

    Each new one is read once. Raises ImageError where some cannot be read, and for a folder without images;
    DatasetError where the dataset is one of other photographs.
    """
    known, paths = remembered(folder), image_names(photographs)
    names = {photograph.path for photograph in known}
    new = [path for path in paths if path not in names]
    if known and len(new) == len(paths):
        raise DatasetError(
            f"{folder} holds a dataset of other photographs: none of its {len(known)}, such as {known[0].path}, is in "
            f"{photographs}; name that folder in paths.photographs, or another one in paths.photographed"
        )
    wanted = new if most is None else new[: max(0, most - len(known))]
    if wanted:
        must_be_writable(folder)
        record = {"photographs": [asdict(photograph) for photograph in _looked_at(photographs, wanted)]}
        with contextlib.suppress(FileExistsError):
            storage.write_new(
                folder / f"photographs-{len(lists(folder)):06d}.json", (json.dumps(record, indent=1) + "\n").encode()
            )
    return remembered(folder)[:most]


def lists(folder: Location) -> list[Location]:
    """The files of all lists, in their order."""
    return [folder / name for name in sorted(filter(_LIST.fullmatch, storage.names(folder)))]


def _looked_at(folder: Path, paths: list[str]) -> list[Photograph]:
    with ThreadPoolExecutor(os.cpu_count()) as readers:
        looks = readers.map(partial(_look, folder), paths)
        looks = list(follow(looks, len(paths), "look at the photographs", "photographs"))
    mistakes = [look for look in looks if isinstance(look, str)]
    if mistakes:
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise ImageError(f"{'; '.join(mistakes[:_SHOWN])}{more}: repair or remove what is broken")
    return [look for look in looks if isinstance(look, Photograph)]


def _look(folder: Path, path: str) -> Photograph | str:
    """The photograph, or what is wrong with it."""
    try:
        return Photograph.of(folder, path)
    except ImageError as error:
        return str(error)

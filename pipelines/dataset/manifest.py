"""What a dataset's folder says of itself, without a look into its shards.

A unit's samples are `shard-000017.tar`; beside it `shard-000017.json` is its report, written last: it is the commit
marker. `dataset.json` says what the whole folder is; a folder of another digest is refused.
A folder is a local path, or an fsspec URL as a UPath.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from label import Scheme
from pipelines import storage
from pipelines.errors import DatasetError
from pipelines.storage import Location
from pipelines.writable import must_be_writable


@dataclass(frozen=True)
class Dataset:
    """What dataset.json holds."""

    digest: str  # of everything that the samples' bytes depend on
    names: list[str]
    colors: list[list[int]]
    recipe: dict[str, Any]
    denoiser: str  # digest; "" where the samples were imported
    interpreter: str  # digest; "" where the samples were imported
    versions: dict[str, str]

    @property
    def units(self) -> range:
        """All that belong to it, made or not; none of a dataset that was not made unit by unit."""
        samples, size = self.recipe.get("samples"), self.recipe.get("unit_size")
        return range(-(-samples // size) if samples and size else 0)

    @property
    def scheme(self) -> Scheme:
        return Scheme(tuple(self.names), tuple((r, g, b) for r, g, b in self.colors))


def claim(folder: Location, dataset: Dataset) -> None:
    """Make `folder` the place of `dataset`; of two that try at once one comes first.

    Raises DatasetError when it is another's, StorageError when nothing can be written there.
    """
    if claimed(folder, dataset.digest) is None:
        must_be_writable(folder)
        with contextlib.suppress(FileExistsError):
            storage.write_new(folder / "dataset.json", (json.dumps(asdict(dataset), indent=2) + "\n").encode())
        claimed(folder, dataset.digest)


def claimed(folder: Location, digest: str) -> Dataset | None:
    """The dataset of this digest, None in a folder that is nobody's. Raises DatasetError when it is another's."""
    stored = _stored_dataset(folder)
    if stored is not None and stored.digest != digest:
        raise DatasetError(
            f"{folder} holds a dataset of another recipe, model or file ({stored.digest[:12]}, this one is "
            f"{digest[:12]}); name another output folder, or remove that one"
        )
    return stored


def open_dataset(folder: Location) -> Dataset:
    """Read dataset.json. Raises DatasetError when the folder holds none."""
    stored = _stored_dataset(folder)
    if stored is None:
        raise DatasetError(f"{folder} holds no dataset.json; generate a dataset there first")
    return stored


def _stored_dataset(folder: Location) -> Dataset | None:
    path = folder / "dataset.json"
    try:
        return Dataset(**json.loads(storage.read(path)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} does not describe a dataset ({error})") from error

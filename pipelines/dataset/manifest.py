"""What a dataset's folder says of itself, without a look into its shards.

A unit's samples are `shard-000017.tar`; beside it `shard-000017.json` is its report, written last: it is the commit
marker. `dataset.json` says what the whole folder is; a folder of another digest is refused. The number of samples is no
part of the digest, since a sample does not depend on it.
A folder is a local path, or an fsspec URL as a UPath.
"""

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from generate.stored import STRICT, TOLERANT, StoredError, Tree
from generate.stored import stored as stored_as
from label import Filter, Scheme, SchemeError
from label.schemes import Color
from pipelines.dataset.inventory import Inventory, take_inventory
from pipelines.digests import digest_of, first_difference
from pipelines.errors import DatasetError
from pipelines.files import storage
from pipelines.files.storage import Location
from pipelines.files.writable import must_be_writable

Count = Annotated[int, Field(ge=1, le=2**63 - 1)]


@dataclass(frozen=True)
class _Settings:
    """What of a dataset's recipe is read again, beside being compared."""

    __pydantic_config__ = TOLERANT

    samples: Count | None = None
    unit_size: Count | None = None
    batch_size: Count | None = None
    portion: Annotated[float, Field(ge=0, lt=1)] | None = None
    filter: Filter | None = None
    keep_all: bool = False
    uncertainty: Annotated[str, Field(pattern=r"^[<>]f[248]$")] | None = None


@dataclass(frozen=True)
class Dataset:
    """What dataset.json holds."""

    __pydantic_config__ = STRICT

    digest: str  # of everything that the samples' bytes depend on
    names: list[str]
    colors: list[Color]
    recipe: Tree
    denoiser: str  # digest; "" where the samples were imported
    interpreter: str  # digest; "" where the samples were imported
    versions: dict[str, str]

    @property
    def units(self) -> range:
        """All that belong to it, made or not; none of a dataset that was not made unit by unit."""
        size = self.recipe.get("unit_size")
        return range(-(-self.samples // size) if size else 0)

    def seeds(self, unit: int) -> range:
        """The unit's candidates; the last unit may be shorter."""
        size = self.recipe["unit_size"]
        return range(unit * size, min((unit + 1) * size, self.samples))

    @property
    def samples(self) -> int:
        """Candidates of the plan; 0 where the samples were imported."""
        return self.recipe.get("samples", 0)

    @property
    def keeps_all(self) -> bool:
        """Whether the shards hold what the filter drops, too."""
        return self.recipe.get("keep_all", False)

    def content(self) -> bytes:
        """What dataset.json holds of it."""
        return (json.dumps(asdict(self), indent=2, allow_nan=False) + "\n").encode()

    @property
    def scheme(self) -> Scheme:
        return Scheme(tuple(self.names), tuple((r, g, b) for r, g, b in self.colors))


def lasting(recipe: dict[str, Any]) -> dict[str, Any]:
    """What of a dataset's recipe its digest covers: nothing that may change without a sample being made again."""
    changing = {"samples", "portion", "filter"} if recipe.get("keep_all") else {"samples"}
    return {key: value for key, value in recipe.items() if key not in changing}


def claim(folder: Location, dataset: Dataset, inventory: Inventory | None = None) -> Dataset:
    """Make `folder` the place of `dataset`, of two that try at once one comes first; what it was before, if anything.

    `inventory` is the folder's, where it was listed just now. Raises DatasetError when it is another's, has more
    samples, or shards that nothing describes, StorageError when nothing can be written there.
    """
    stored = claimed(folder, dataset)
    if stored is None:
        if (inventory or take_inventory(folder)).has_units:
            raise DatasetError(
                f"{folder} holds shards, but no dataset.json that says what they are; restore it, remove them, or name "
                "another folder"
            )
        must_be_writable(folder)
        with contextlib.suppress(FileExistsError):
            storage.write_new(folder / "dataset.json", dataset.content())
        stored = claimed(folder, dataset) or dataset
    if stored.samples > dataset.samples:
        of_photographs = dataset.recipe.get("images") == "photographs"
        count, place = ("photographs", "photographed") if of_photographs else ("samples", "dataset")
        raise DatasetError(
            f"the dataset in {folder} has {stored.samples:,} samples, generate.{count} is {dataset.samples:,}; "
            f"datasets only grow: give at least {stored.samples}, or name another folder in paths.{place}"
        )
    return stored


def claimed(folder: Location, dataset: Dataset) -> Dataset | None:
    """What the folder holds of this dataset, None in a folder that is nobody's. Raises DatasetError for another's."""
    stored = stored_dataset(folder)
    if stored is not None and stored.digest != dataset.digest:
        raise DatasetError(
            f"{folder} holds a dataset of another recipe, model or file ({_difference(stored, dataset)}); name another "
            "output folder, or remove that one"
        )
    return stored


def _difference(was: Dataset, now: Dataset) -> str:
    """The first thing that differs, as a clause."""
    if bool(was.denoiser) != bool(now.denoiser):
        return "one is generated, the other imported"
    if was.recipe.get("images") != now.recipe.get("images"):
        return "one is of photographs, the other of painted images"
    if difference := first_difference(_settings(was), _settings(now)):
        return difference
    if was.denoiser != now.denoiser:
        return "paths.denoiser is another model"
    if _painter(was).get("digest") != _painter(now).get("digest"):
        return "paths.painter is another model"
    if was.interpreter != now.interpreter:
        return "the interpreter was fitted anew, on other masks or settings"
    return "made by another version of datasetddpm"


def _settings(dataset: Dataset) -> dict[str, Any]:
    """As the recipe names them; of an npz that was imported, its digest."""
    recipe = lasting(dataset.recipe)
    if not dataset.denoiser:
        return recipe | {"npz": digest_of({"npz": recipe.get("npz")})}
    dtype, mode = str(recipe.pop("dtype", None)), recipe.pop("compile", None)
    painter = {key: value for key, value in _painter(dataset).items() if key != "digest"}
    recipe.pop("painter", None)
    denoiser = {"dtype": dtype.removeprefix("torch."), "compile": mode}
    return {"painter": painter, "generate": recipe, "denoiser": denoiser}


def _painter(dataset: Dataset) -> dict[str, Any]:
    """What it says of a painter; {} where paths.denoiser painted."""
    return dataset.recipe.get("painter") or {}


def claimed_settings(stored: Dataset, generate: dict[str, Any], painter: dict[str, Any] | None = None) -> str:
    """The first key of [generate] that a generated dataset has otherwise, as a clause; "" for none.

    `painter` is what of [painter] an image depends on, None where paths.denoiser paints.
    """
    asked = {key: generate.get(key, value) for key, value in stored.recipe.items()} | {"painter": painter}
    if asked.get("batch_size") == "auto":  # any number
        asked["batch_size"] = stored.recipe["batch_size"]
    now = replace(stored, recipe=asked)
    return first_difference(_settings(stored), _settings(now))


def open_dataset(folder: Location) -> Dataset:
    """Read dataset.json. Raises DatasetError when the folder holds none."""
    stored = stored_dataset(folder)
    if stored is None:
        raise DatasetError(f"{folder} holds no dataset.json; generate a dataset there first")
    return stored


def stored_dataset(folder: Location) -> Dataset | None:
    """Read dataset.json; None where there is none."""
    path = folder / "dataset.json"
    try:
        content = storage.read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        dataset = stored_as(content, Dataset)
        settings = stored_as(json.dumps(dataset.recipe).encode(), _Settings)
        _ = dataset.scheme
    except (StoredError, SchemeError) as error:
        raise DatasetError(f"{path} does not describe a dataset ({error})") from error
    if "samples" in dataset.recipe and settings.samples is None:  # where samples were imported, nobody planned any
        raise DatasetError(f"{path} does not describe a dataset (recipe: samples is no number)")
    if settings.keep_all and None in (settings.filter, settings.portion, settings.unit_size):
        raise DatasetError(f"{path} does not describe a dataset (recipe: filter, portion or unit_size is missing)")
    return dataset

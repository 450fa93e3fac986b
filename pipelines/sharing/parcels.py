"""What is given away, file by file: a dataset with its card, or a model with one."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from generate.identity import HUB_ID, StateDict, locate
from label.feature_records import FEATURE_TENSORS, FEATURES, check_denoiser, features_record
from label.identity import INTERPRETER, INTERPRETER_TENSORS
from pipelines.dataset.inventory import INDEX, Inventory
from pipelines.errors import DatasetError
from pipelines.files import storage
from pipelines.files.storage import Location
from pipelines.sharing.card import README, STRIP
from pipelines.sharing.croissant import CROISSANT, listed, shards_in

Kind = Literal["dataset", "interpreter", "denoiser", "network"]
DATASET = "dataset.json"
BESIDE = "denoiser"  # where the denoiser of an interpreter lies in its parcel
_NETWORK = ("model.safetensors", "config.json")
_PIPELINE = ("model_index.json", "unet/config.json")


@dataclass(frozen=True)
class Piece:
    """A file: where it lies, or the content that it has in the parcel alone."""

    source: Location | bytes
    size: int
    sha256: str | None = None  # where it is known without reading


@dataclass(frozen=True)
class Parcel:
    """All files of what is given away, by their names there: what says what it is first, the page last."""

    kind: Kind
    pieces: Mapping[str, Piece]

    @property
    def size(self) -> int:
        """Bytes of all together."""
        return sum(piece.size for piece in self.pieces.values())


def kind_of(folder: Location) -> Kind:
    """Raises DatasetError for a folder that holds nothing of ours."""
    signs: dict[Kind, tuple[str, ...]] = {
        "dataset": (DATASET,),
        "interpreter": (INTERPRETER,),
        "network": _NETWORK[:1],
        "denoiser": (*_PIPELINE, "scheduler_config.json"),
    }
    for kind, names in signs.items():
        if any((folder / name).exists() for name in names):
            return kind
    raise DatasetError(
        f"{folder} holds no dataset, interpreter, denoiser or network; name the folder of one, as runs/cats/dataset"
    )


def dataset_parcel(folder: Location) -> Parcel:
    """The dataset with its card. Raises DatasetError where it has none, or one of other files than are there."""
    sizes, cards = storage.sizes(folder), (STRIP, CROISSANT, README)
    inventory = Inventory.of(folder, sizes.items())
    if lacking := [name for name in (INDEX, *cards) if name not in sizes]:
        raise DatasetError(f"{folder} holds no {lacking[0]}; run `datasetddpm card {folder}` first")
    shards = shards_in(inventory)
    shas = {shard.name: shard.sha256 for shard in shards}
    shas[INDEX] = hashlib.sha256(storage.read(folder / INDEX)).hexdigest()
    if listed(folder) != shas or any(sizes.get(shard.name) != shard.bytes for shard in shards):
        raise DatasetError(f"the card in {folder} is of other files than lie there; run `datasetddpm card {folder}`")
    names = [DATASET, *(shard.name for shard in shards), *inventory.reports, INDEX, *cards]
    return Parcel("dataset", {name: Piece(folder / name, sizes[name], shas.get(name)) for name in names})


def model_pieces(kind: Kind, folder: Path) -> dict[str, Piece]:
    """A model without a page; an interpreter brings its denoiser along, unless that is on the Hub.

    Raises DatasetError for an interpreter that does not read a denoiser and for a network that was not trained to its
    end, and what looking at the files of a denoiser raises.
    """
    return {"interpreter": _interpreter, "denoiser": _denoiser, "network": _network}[kind](folder)


def _interpreter(folder: Path) -> dict[str, Piece]:
    record = features_record(folder)
    if not record.get("source"):
        reads = record["backbone"]["kind"] if "backbone" in record else "several sources, or a denoiser without a file"
        raise DatasetError(f"the interpreter in {folder} reads {reads}; only one that reads a denoiser is given away")
    names = (FEATURE_TENSORS, INTERPRETER_TENSORS, INTERPRETER)
    return _files(folder, names) | _its_denoiser(folder, record)


def _its_denoiser(folder: Path, record: dict) -> dict[str, Piece]:
    """features.json, and the denoiser's files as it names them: beside it, or on the Hub."""
    path, flags = record["source"]["path"], record["source"]["flags"]
    if HUB_ID.fullmatch(path) and not (folder / path).exists():
        return _files(folder, (FEATURES,))
    if "prompt" in record:
        raise DatasetError(f"the interpreter in {folder} reads a latent diffusion model; name that by its Hub id")
    inside = folder / path
    files = locate(inside, flags)
    check_denoiser(folder, record, files.digest())
    if isinstance(files, StateDict):
        there, pieces = f"{BESIDE}/{files.path.name}", _files(files.path.parent, (files.path.name,), BESIDE)
    else:
        there, pieces = BESIDE, {f"{BESIDE}/{name}": piece for name, piece in _denoiser(files.folder).items()}
    moved = record | {"source": {"path": there, "flags": flags}}
    return pieces | {FEATURES: made_piece((json.dumps(moved, indent=2) + "\n").encode())}


def _denoiser(folder: Path) -> dict[str, Piece]:
    files = locate(folder, None)
    assert not isinstance(files, StateDict)
    names = [path.relative_to(folder).as_posix() for path in (files.weights, files.config, files.scheduler)]
    return _files(folder, [*names, *(name for name in _PIPELINE[:1] if (folder / name).is_file())])


def _network(folder: Path) -> dict[str, Piece]:
    if lacking := [name for name in _NETWORK if not (folder / name).is_file()]:
        raise DatasetError(f"{folder} holds no {lacking[0]}, so it is no network that was trained to its end")
    return _files(folder, _NETWORK)


def _files(folder: Path, names: tuple[str, ...] | list[str], below: str = "") -> dict[str, Piece]:
    return {f"{below}/{name}".lstrip("/"): Piece(folder / name, (folder / name).stat().st_size) for name in names}


def made_piece(content: bytes) -> Piece:
    """A file that the parcel alone has."""
    return Piece(content, len(content))

"""features.json of every kind of source, and what it tells unopened: what names the source, and whether it is there.

Nothing here needs torch: a run is planned before any network is built.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file

from generate.guided_flags import Flags
from generate.stored import STRICT, Natural, StoredError, Tree, stored, stored_tree
from label.errors import InterpreterError
from label.source_kinds import key_of

FEATURES, FEATURE_TENSORS = "features.json", "features.safetensors"
Some = Annotated[list[Natural], Field(min_length=1)]
Side = Annotated[int, Field(ge=1, le=2**20)]


@dataclass(frozen=True)
class _Origin:
    """Where a denoiser was opened from."""

    __pydantic_config__ = STRICT

    path: str
    flags: str | Tree | None


@dataclass(frozen=True)
class _DenoiserFeatures:
    """What features.json holds of a denoiser's."""

    __pydantic_config__ = STRICT

    denoiser: str
    source: _Origin | None
    steps: Some
    blocks: Some
    where: Literal["output", "input"]
    kind: Literal["denoiser"] = "denoiser"


@dataclass(frozen=True, kw_only=True)
class _LatentFeatures(_DenoiserFeatures):
    """What features.json holds of a latent diffusion model's."""

    prompt: str


@dataclass(frozen=True)
class _BackboneFeatures:
    """What features.json holds of a backbone's."""

    __pydantic_config__ = STRICT

    kind: str
    backbone: Tree  # all that its maps depend on, the size of images aside
    image_size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    weights: str | None  # where their file was; None for those that have none
    digest: str


@dataclass(frozen=True)
class _JointFeatures:
    """What features.json holds of several sources, each of which has a folder of its own."""

    __pydantic_config__ = STRICT

    joint: Annotated[list[float], Field(min_length=1)]
    kind: Literal["joint"] = "joint"


@dataclass(frozen=True)
class _MirroredFeatures:
    """What features.json holds of a source that sees the mirrored image as well; the source has a folder of its own."""

    __pydantic_config__ = STRICT

    kind: Literal["mirrored"]


def features_record(folder: Path) -> dict[str, Any]:
    """What features.json in `folder` says, checked by its kind. Raises InterpreterError where there is none."""
    if not (folder / FEATURES).is_file():
        raise InterpreterError(f"{folder} holds no interpreter; fit one first")
    record = stored_record(folder / FEATURES, None)
    if "pixels" in record:
        return record
    kinds = {"joint": _JointFeatures, "backbone": _BackboneFeatures, "prompt": _LatentFeatures}
    kind = next((kinds[name] for name in kinds if name in record), _DenoiserFeatures)
    return stored_record(folder / FEATURES, _MirroredFeatures if record.get("kind") == "mirrored" else kind)


def inner_folders(folder: Path, record: Mapping[str, Any]) -> list[Path]:
    """Where the sources lie of a record that joins or mirrors some; [] for one that reads a network itself."""
    count = len(record["joint"]) if "joint" in record else int(record.get("kind") == "mirrored")
    return [folder / f"source-{number}" for number in range(count)]


def kinds_in(folder: Path) -> Iterator[str]:
    """What the saved source reads, as a recipe names it: "denoiser", "mae", "timm:resnet50", one for each joined."""
    record = features_record(folder)
    if inner := inner_folders(folder, record):
        for each in inner:
            yield from kinds_in(each)
    else:
        yield record.get("kind", "pixels" if "pixels" in record else "denoiser")


def stored_features_digest(folder: Path, denoiser: str, places: Mapping[str, Path]) -> str:
    """The digest that the source saved in `folder` will have, once it is opened with this denoiser.

    `places` are files of weights by kind, where they are not where they were. Raises InterpreterError where the
    denoiser or the weights are others or missing.
    """
    record = features_record(folder)
    if inner := inner_folders(folder, record):
        digests = [stored_features_digest(each, denoiser, places) for each in inner]
        return joint_digest(digests, record["joint"]) if "joint" in record else mirrored_digest(digests[0])
    if "backbone" in record:
        weights_of_record(folder, record, places)
        return backbone_digest(record["backbone"], record["image_size"])
    check_denoiser(folder, record, denoiser)
    noise, told = stored_noise(folder), record.get("prompt")
    return features_digest(denoiser, record["steps"], record["blocks"], record["where"], noise, told)


def weights_of_record(folder: Path, record: Mapping[str, Any], places: Mapping[str, Path]) -> Path | None:
    """The file of a backbone's weights; None where it has none. InterpreterError where it is gone or another."""
    kind, written = record["kind"], record["weights"]
    if written is None:
        return None
    path = places.get(kind) or Path(written)
    remedy = f"name it in the recipe's [paths], as weights.{key_of(kind)} = FILE, or fit the interpreter again"
    if not path.is_file():
        raise InterpreterError(
            f"the interpreter in {folder} reads {kind}, whose weights are not at {path}; put them there, or {remedy}"
        )
    if sha256_of(path) != record["backbone"]["sha256"]:
        raise InterpreterError(
            f"the weights of {kind} in {path} are others than those that the interpreter was fitted on; {remedy}"
        )
    return path


def features_digest(
    denoiser: str, steps: Sequence[int], blocks: Sequence[int], where: str, noise: np.ndarray, prompt: str | None = None
) -> str:
    """Names a denoiser's features: two sources with the same digest give the same maps.

    `prompt` is what a latent diffusion model is told; None for a denoiser, which is told nothing.
    """
    settings = json.dumps([denoiser, steps, blocks, where] + ([] if prompt is None else [prompt]))
    return hashlib.sha256(settings.encode() + noise.tobytes()).hexdigest()


def backbone_digest(identity: Mapping[str, Any], image_size: Sequence[int]) -> str:
    """Names a backbone's features: network, layers, weights and the size of images; never where a file lies."""
    return _sha256({**identity, "image_size": list(image_size)})


def joint_digest(digests: Sequence[str], scales: Sequence[float]) -> str:
    """Names several sources side by side."""
    return _sha256([list(digests), list(scales)])


def mirrored_digest(digest: str) -> str:
    """Names a source whose maps are averaged with those of the mirrored image."""
    return _sha256(["mirrored", digest])


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place_of_denoiser(folder: Path, record: Mapping[str, Any]) -> tuple[Path | str, Flags | None]:
    """Where the model that the features read lies, and its flags: beside them where both were given away together.

    Raises InterpreterError for a model that was not opened from anywhere.
    """
    if not (source := record["source"]):
        raise InterpreterError(f"{folder} does not say where its denoiser is; open it and name it")
    beside = folder / source["path"]
    return beside if beside.exists() else source["path"], source["flags"]


def check_denoiser(folder: Path, record: Mapping[str, Any], denoiser: str) -> None:
    """Raises InterpreterError when these features are another denoiser's."""
    if "denoiser" not in record:
        raise InterpreterError(f"the interpreter in {folder} was fitted on no denoiser's features; fit it again")
    if record["denoiser"] != denoiser:
        raise InterpreterError(
            f"the interpreter in {folder} was fitted on denoiser {record['denoiser'][:12]}, this one is "
            f"{denoiser[:12]}; fit it again, or open the denoiser that it was fitted on"
        )


def stored_record(path: Path, kind: type | None) -> dict[str, Any]:
    """A JSON file of an interpreter's folder, checked by its kind. Raises InterpreterError, which names the field."""
    try:
        content = path.read_bytes()
        if kind:
            stored(content, kind)
        return stored_tree(content)
    except (OSError, StoredError) as error:
        raise InterpreterError(f"{path} is cut short or damaged; fit the interpreter again ({error})") from error


def stored_noise(folder: Path) -> np.ndarray:
    """The noise of a denoiser's features. Raises InterpreterError for a file without it."""
    arrays = stored_arrays(folder / FEATURE_TENSORS)
    if "noise" not in arrays:
        raise InterpreterError(f"{folder / FEATURE_TENSORS} holds no noise; fit the interpreter again")
    return arrays["noise"]


def stored_arrays(path: Path) -> dict[str, np.ndarray]:
    """The tensors of an interpreter's folder. Raises InterpreterError for a file that holds none, or nan."""
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InterpreterError(f"{path} is cut short or damaged; fit the interpreter again") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise InterpreterError(f"{path}: {name} has a value that is not finite; fit the interpreter again")
    return arrays

"""The files of an interpreter's folder and what they tell unopened: the digests that name it and its features.

Nothing here needs torch: a run is planned before any network is built.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file

from generate.stored import STRICT, TOLERANT, Natural, StoredError, Tree, stored, stored_tree
from label.errors import InterpreterError, SchemeError
from label.schemes import Scheme
from label.settings import Upsampling

FEATURES, FEATURE_TENSORS = "features.json", "features.safetensors"
INTERPRETER, INTERPRETER_TENSORS = "interpreter.json", "interpreter.safetensors"


Some = Annotated[list[Natural], Field(min_length=1)]
Color = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]
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


@dataclass(frozen=True)
class _LatentFeatures(_DenoiserFeatures):
    """What features.json holds of a latent diffusion model's."""

    prompt: str


@dataclass(frozen=True)
class _BackboneFeatures:
    """What features.json holds of a backbone's."""

    __pydantic_config__ = STRICT

    backbone: Tree
    image_size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    digest: str


@dataclass(frozen=True)
class _JointFeatures:
    """What features.json holds of several sources."""

    __pydantic_config__ = STRICT

    joint: Annotated[list[float], Field(min_length=1)]


@dataclass(frozen=True)
class _Interpreter:
    """What interpreter.json holds."""

    __pydantic_config__ = TOLERANT

    names: list[str]
    colors: list[Color]
    members: Annotated[int, Field(ge=1, le=2**16)]
    channels: Annotated[int, Field(ge=1, le=2**24)]
    upsampling: Upsampling
    features: str


@dataclass(frozen=True)
class StoredInterpreter:
    """What an interpreter's folder says of it."""

    digest: str
    scheme: Scheme


def stored_interpreter(folder: Path, denoiser: str, *, dtype: str = "torch.float32") -> StoredInterpreter:
    """The interpreter in `folder`, as the denoiser of this digest would have it opened to compute in `dtype`.

    Raises InterpreterError where the folder holds none, a damaged one, or one that was fitted on something else.
    """
    record = features_record(folder)
    check_denoiser(folder, record, denoiser)
    noise = stored_noise(folder)
    features = features_digest(
        denoiser, record["steps"], record["blocks"], record["where"], noise, record.get("prompt")
    )
    record = interpreter_record(folder)
    check_features(folder, record, features)
    scheme, tensors = scheme_of(record), stored_arrays(folder / INTERPRETER_TENSORS)
    digest = interpreter_digest(features, scheme, record["upsampling"], dtype, tensors)
    return StoredInterpreter(digest, scheme)


def features_digest(
    denoiser: str, steps: Sequence[int], blocks: Sequence[int], where: str, noise: np.ndarray, prompt: str | None = None
) -> str:
    """Names a denoiser's features: two sources with the same digest give the same maps.

    `prompt` is what a latent diffusion model is told; None for a denoiser, which is told nothing.
    """
    settings = json.dumps([denoiser, steps, blocks, where] + ([] if prompt is None else [prompt]))
    return hashlib.sha256(settings.encode() + noise.tobytes()).hexdigest()


def interpreter_digest(
    features: str, scheme: Scheme, upsampling: str, dtype: str, tensors: Mapping[str, np.ndarray]
) -> str:
    """Names all that labels depend on: two interpreters with the same digest label alike."""
    whole = hashlib.sha256(json.dumps([features, asdict(scheme), upsampling, dtype]).encode())
    for name, tensor in sorted(tensors.items()):
        whole.update(name.encode() + tensor.tobytes())
    return whole.hexdigest()


def features_record(folder: Path) -> dict[str, Any]:
    """Steps, blocks and denoiser of the features in `folder`. Raises InterpreterError where there are none."""
    if not (folder / FEATURES).is_file():
        raise InterpreterError(f"{folder} holds no interpreter; fit one first")
    record = stored_record(folder / FEATURES, None)
    kinds = {"joint": _JointFeatures, "backbone": _BackboneFeatures, "prompt": _LatentFeatures, "pixels": None}
    kind = next((kinds[name] for name in kinds if name in record), _DenoiserFeatures)
    return stored_record(folder / FEATURES, kind)


def interpreter_record(folder: Path) -> dict[str, Any]:
    """Classes, members and features of the interpreter in `folder`. Raises InterpreterError where there is none."""
    if not (folder / INTERPRETER).is_file():
        raise InterpreterError(f"{folder} holds no interpreter; fit one first")
    return stored_record(folder / INTERPRETER, _Interpreter)


def check_denoiser(folder: Path, record: Mapping[str, Any], denoiser: str) -> None:
    """Raises InterpreterError when these features are another denoiser's."""
    if "denoiser" not in record:
        raise InterpreterError(f"the interpreter in {folder} was fitted on no denoiser's features; fit it again")
    if record["denoiser"] != denoiser:
        raise InterpreterError(
            f"the interpreter in {folder} was fitted on denoiser {record['denoiser'][:12]}, this one is "
            f"{denoiser[:12]}; fit it again, or open the denoiser that it was fitted on"
        )


def check_features(folder: Path, record: Mapping[str, Any], features: str) -> None:
    """Raises InterpreterError when the interpreter reads other features."""
    if record["features"] != features:
        raise InterpreterError(f"the interpreter in {folder} was fitted on other features; fit it again")


def scheme_of(record: Mapping[str, Any]) -> Scheme:
    """The classes of an interpreter's record."""
    try:
        return Scheme(tuple(record["names"]), tuple((r, g, b) for r, g, b in record["colors"]))
    except SchemeError as error:
        raise InterpreterError(f"the interpreter's classes are damaged ({error}); fit the interpreter again") from error


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

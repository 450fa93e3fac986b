"""An interpreter's folder and what it tells unopened: the digest that names it, and its classes.

Nothing here needs torch: a run is planned before any network is built.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from generate.stored import TOLERANT
from label.errors import InterpreterError, SchemeError
from label.feature_records import stored_arrays, stored_features_digest, stored_record
from label.schemes import Color, Scheme
from label.settings import Upsampling

INTERPRETER, INTERPRETER_TENSORS = "interpreter.json", "interpreter.safetensors"


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


def stored_interpreter(
    folder: Path, denoiser: str, *, places: Mapping[str, Path] | None = None, dtype: str = "torch.float32"
) -> StoredInterpreter:
    """The interpreter in `folder`, as the denoiser of this digest would have it opened to compute in `dtype`.

    `places` are files of other sources' weights, by kind. Raises InterpreterError where the folder holds none, a
    damaged one, or one that was fitted on something else.
    """
    features = stored_features_digest(folder, denoiser, places or {})
    record = interpreter_record(folder)
    check_features(folder, record, features)
    scheme, tensors = scheme_of(record), stored_arrays(folder / INTERPRETER_TENSORS)
    digest = interpreter_digest(features, scheme, record["upsampling"], dtype, tensors)
    return StoredInterpreter(digest, scheme)


def interpreter_digest(
    features: str, scheme: Scheme, upsampling: str, dtype: str, tensors: Mapping[str, np.ndarray]
) -> str:
    """Names all that labels depend on: two interpreters with the same digest label alike."""
    whole = hashlib.sha256(json.dumps([features, asdict(scheme), upsampling, dtype]).encode())
    for name, tensor in sorted(tensors.items()):
        whole.update(name.encode() + tensor.tobytes())
    return whole.hexdigest()


def interpreter_record(folder: Path) -> dict[str, Any]:
    """Classes, members and features of the interpreter in `folder`. Raises InterpreterError where there is none."""
    if not (folder / INTERPRETER).is_file():
        raise InterpreterError(f"{folder} holds no interpreter; fit one first")
    return stored_record(folder / INTERPRETER, _Interpreter)


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

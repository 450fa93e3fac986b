"""The files of an interpreter's folder and what they tell unopened: the digests that name it and its features.

Nothing here needs torch: a run is planned before any network is built.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from label.errors import InterpreterError
from label.schemes import Scheme

FEATURES, FEATURE_TENSORS = "features.json", "features.safetensors"
INTERPRETER, INTERPRETER_TENSORS = "interpreter.json", "interpreter.safetensors"


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
    noise = stored_arrays(folder / FEATURE_TENSORS)["noise"]
    features = features_digest(denoiser, record["steps"], record["blocks"], record["where"], noise)
    record = interpreter_record(folder)
    check_features(folder, record, features)
    scheme, tensors = scheme_of(record), stored_arrays(folder / INTERPRETER_TENSORS)
    digest = interpreter_digest(features, scheme, record["upsampling"], dtype, tensors)
    return StoredInterpreter(digest, scheme)


def features_digest(denoiser: str, steps: Sequence[int], blocks: Sequence[int], where: str, noise: np.ndarray) -> str:
    """Names a denoiser's features: two sources with the same digest give the same maps."""
    settings = json.dumps([denoiser, steps, blocks, where])
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
    return stored_record(folder / FEATURES)


def interpreter_record(folder: Path) -> dict[str, Any]:
    """Classes, members and features of the interpreter in `folder`. Raises InterpreterError where there is none."""
    if not (folder / INTERPRETER).is_file():
        raise InterpreterError(f"{folder} holds no interpreter; fit one first")
    return stored_record(folder / INTERPRETER)


def check_denoiser(folder: Path, record: Mapping[str, Any], denoiser: str) -> None:
    """Raises InterpreterError when these features are another denoiser's."""
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
    return Scheme(tuple(record["names"]), tuple((r, g, b) for r, g, b in record["colors"]))


def stored_record(path: Path) -> dict[str, Any]:
    """A JSON file of an interpreter's folder. Raises InterpreterError for one that is none."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InterpreterError(f"{path} is cut short or damaged; fit the interpreter again") from error


def stored_arrays(path: Path) -> dict[str, np.ndarray]:
    """The tensors of an interpreter's folder. Raises InterpreterError for a file that holds none."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InterpreterError(f"{path} is cut short or damaged; fit the interpreter again") from error

"""The files of an interpreter's folder, read with a sentence for those that are damaged."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from label.errors import InterpreterError


def stored_record(path: Path) -> dict[str, Any]:
    """A JSON file of an interpreter's folder. Raises InterpreterError for one that is none."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InterpreterError(f"{path} is cut short or damaged; fit the interpreter again") from error


def stored_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of an interpreter's folder. Raises InterpreterError for a file that holds none."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InterpreterError(f"{path} is cut short or damaged; fit the interpreter again") from error

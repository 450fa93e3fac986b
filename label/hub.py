"""An interpreter's folder by its path, or by its Hub id."""

from pathlib import Path

from generate.errors import CheckpointError
from generate.identity import HUB_ID, from_hub
from label.errors import InterpreterError
from label.identity import INTERPRETER

_FILES = ("*.json", "*.safetensors", "denoiser/*")


def local_folder(source: str | Path) -> Path:
    """Where its files are on this machine; those of a Hub id are fetched if need be.

    Raises InterpreterError where they are neither cached nor to be had, or are no interpreter's.
    """
    if Path(source).exists() or not HUB_ID.fullmatch(str(source)):
        return Path(source)
    try:
        folder = from_hub(str(source), _FILES)
    except CheckpointError as error:
        raise InterpreterError(str(error)) from error
    if not (folder / INTERPRETER).is_file():
        raise InterpreterError(f"{source} on the Hub holds no interpreter, which has an {INTERPRETER}; name another")
    return folder

"""The one gate for the values of a recipe, before any of them is looked at: finite, of a bounded size, and text."""

import math
import re
from collections.abc import Iterator
from typing import Any

_LARGEST = 2**63 - 1
_GREATEST = 1e9  # of a fraction: seconds, GiB, epochs, rates
_LONGEST, _MOST = 4096, 10_000  # characters of a text, entries of a list or table
_LONGEST_NAME = 255  # bytes of a file's or folder's name, on all common disks
_PATHS = ("cluster.shared", "train.encoder_weights", "train.mix.source", "train_ddpm.init")  # beside those of [paths]
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def mistakes(tree: dict[str, Any]) -> list[str]:
    """One for each value that no key can have, as `key: what is wrong`."""
    return [f"{key}: {wrong}" for key, value in _leaves(tree, "") if (wrong := _mistake(key, value))]


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list) and len(value) > _MOST:
        yield key, value
    elif isinstance(value, dict):
        for name, held in value.items():
            yield from _leaves(name, f"{key}.{name}" if key else name)
            yield from _leaves(held, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for held in value:
            yield from _leaves(held, key)
    else:
        yield key, value


def _mistake(key: str, value: Any) -> str:
    if isinstance(value, dict | list):
        return f"it has {len(value)} entries; at most {_MOST} are possible"
    if isinstance(value, float) and not math.isfinite(value):
        return f"it should be a finite number, not {value}"
    if isinstance(value, float) and abs(value) > _GREATEST:
        return f"it should be at most {_GREATEST:g}, not {value}"
    if isinstance(value, int) and not -_LARGEST - 1 <= value <= _LARGEST:
        return "it should be a number of at most 63 bits"
    if not isinstance(value, str):
        return ""
    if len(value) > _LONGEST:
        return f"it has {len(value)} characters; at most {_LONGEST} are possible"
    if strange := next((letter for letter in value if not letter.isprintable() and letter not in "\t\n"), None):
        return f"it holds {strange!r}, which no name or text has"
    return _path_mistake(value) if _is_path(key) and not _URL.match(value) else ""


def _is_path(key: str) -> bool:
    return key.startswith("paths.") or key in _PATHS


def _path_mistake(value: str) -> str:
    longest = max((len(part.encode()) for part in value.split("/")), default=0)
    return f"it has a name of {longest} bytes; a disk takes {_LONGEST_NAME}" if longest > _LONGEST_NAME else ""

"""Records of settings: the digest that names one, and what differs between two, in words."""

import hashlib
import json
import re
from typing import Any

_DIGEST = re.compile(r'"[0-9a-f]{32,128}"')  # says that something differs, but to nobody what


def digest_of(record: dict[str, Any]) -> str:
    """sha256 of a JSON record, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True, allow_nan=False).encode()).hexdigest()


def first_difference(stored: Any, wanted: Any, key: str = "") -> str:
    """As "train.steps was 200, is 300", by the first key that differs; "" where nothing does. Both as JSON holds them.

    Where dicts are nested, the key is `outer.inner`; digests are not shown.
    """
    if stored == wanted:
        return ""
    if not (isinstance(stored, dict) and isinstance(wanted, dict)):
        is_digest = any(_DIGEST.search(_shown(value)) for value in (stored, wanted))
        return f"{key} has changed" if is_digest else f"{key} was {_shown(stored)}, is {_shown(wanted)}"
    for name in {**wanted, **stored}:
        place = f"{key}.{name}" if key else str(name)
        if name not in stored:
            return f"{place} is new"
        if name not in wanted:
            return f"{place} is gone"
        if difference := first_difference(stored[name], wanted[name], place):
            return difference
    raise AssertionError("two dicts that differ have a key that does")


def _shown(value: Any) -> str:
    """As a recipe would have it."""
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)

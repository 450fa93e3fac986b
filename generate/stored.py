"""The one gate for files of JSON that are read back: each becomes a checked dataclass, or one clause with its field.

A dataclass whose `__pydantic_config__` is STRICT says by its types and limits what its file may hold.
"""

import math
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""Numbers are finite and of their kind, and no field is unknown."""
TOLERANT = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)
"""The same of other people's files, which hold more than is read."""
_SHOWN = 60  # characters of a value that a clause shows


def _finite(value: Any) -> Any:
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in held:
        _finite(each)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number that JSON knows")
    return value


Tree = Annotated[dict[str, Any], AfterValidator(_finite)]
"""Any object of JSON, for what is only compared or shown."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A sha256, as hexadecimal digits."""
Natural = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A count of anything."""
Seconds = Annotated[float, Field(ge=0)]


class StoredError(ValueError):
    """What is wrong with a stored file, as a clause that names the field: "unit: Input should be a valid integer"."""


def stored(content: bytes, kind: type[T]) -> T:
    """What the JSON says, as an instance of the dataclass `kind`. Raises StoredError for anything else."""
    return _stored(content, kind)


def _stored(content: bytes, kind: Any) -> Any:
    try:
        return _reader(kind).validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise StoredError(_clause(first["loc"], first["msg"], first["input"])) from error


def stored_tree(content: bytes) -> dict[str, Any]:
    """An object of JSON of which no field is known. Raises StoredError for anything else."""
    return _stored(content, Tree)


@cache
def _reader(kind: Any) -> Any:
    return TypeAdapter(kind)


def _clause(place: tuple[int | str, ...], message: str, came: Any) -> str:
    field = ".".join(map(str, place))
    shown = repr(came) if isinstance(came, str | int | float | None) else ""
    value = f", not {shown}" if shown and len(shown) <= _SHOWN else ""
    sentence = message.removeprefix("Value error, ").replace("Input", "it", 1)
    return f"{field}: {sentence}{value}" if field else sentence

"""Parts of a card: its head, and tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def head(data: Mapping[str, Any]) -> str:
    """The YAML between two lines of dashes that the Hub reads."""
    from huggingface_hub.repocard_data import CardData  # here, since no table needs it

    return f"---\n{CardData(**data).to_yaml()}\n---\n"


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; what would end a cell is escaped."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(_cell(value) for value in line)} |\n" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())

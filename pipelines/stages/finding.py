"""What a look at a recipe found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What is so, of a key of the recipe or of this machine."""

    subject: str
    clause: str
    mark: Literal["ok", "not yet", "wrong"] = "ok"


def as_text(size: tuple[int, int]) -> str:
    """Height and width as a person says them: width first."""
    return f"{size[1]}x{size[0]}"

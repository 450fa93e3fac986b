"""How far a stage is, as `status` and `check` tell it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.driver.status import heard_of
from pipelines.files.owner import Entry
from pipelines.progress import duration

State = Literal["done", "outdated", "damaged", "under way", "stopped", "missing", "not needed"]
"""Outdated is what settings made that are not the recipe's; damaged, what is not what was written any more."""


@dataclass(frozen=True)
class Standing:
    """How far a stage is."""

    stage: str
    state: State
    made: float | None = None  # seconds since 1970, of what is done
    seconds: float | None = None  # that it took
    note: str = ""  # how far, how long still, and who works on it
    options: str | None = ""  # of the command that makes the rest; None where no command does, and the note says what

    @property
    def is_to_be_made(self) -> bool:
        """Whether its command makes something that is missing, damaged or outdated."""
        return self.state in ("outdated", "damaged", "stopped", "missing") and self.options is not None


def unfinished(stage: str, notes: list[str], left: float | None, working: Sequence[Entry]) -> Standing:
    """Work that somebody does, or nobody does any more."""
    notes += [f"about {duration(left)} left"] if left is not None else []
    return Standing(stage, "under way" if working else "stopped", note=", ".join([*notes, *map(heard_of, working)]))

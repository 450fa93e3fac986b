"""Words to paint from: texts and templates, and which of them a seed is given. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from string import Formatter
from typing import Any

import numpy as np

from generate.errors import GenerateError

_TEXTS, _CHOICES = 1, 2  # streams of randomness beside that of the noise, which has no third number


@dataclass(frozen=True)
class Prompts:
    """Texts, each a prompt or a template: "a photo of a {breed} horse, {place}" with choices for breed and place.

    Raises GenerateError for no text, for one that is empty, and for a template that does not fit its choices.
    """

    texts: Sequence[str]
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    run_seed: int = 0

    def __post_init__(self) -> None:
        if not self.texts:
            raise GenerateError("prompts is an empty list; a model that paints from words needs one prompt at least")
        if empty := [number for number, text in enumerate(self.texts, 1) if not text.strip()]:
            raise GenerateError(f"prompt {empty[0]} is empty; write what is to be painted, or leave it out")
        used = set(chain.from_iterable(map(self._names, self.texts)))
        if idle := [name for name in self.choices if name not in used]:
            raise GenerateError(f"choices.{idle[0]} is in no prompt; write {{{idle[0]}}} where it belongs")
        if bare := [name for name, options in self.choices.items() if not options or not all(map(str.strip, options))]:
            raise GenerateError(f"choices.{bare[0]} is empty, or holds an empty text; name one choice at least")

    def of(self, seed: int) -> str:
        """The prompt of a seed, a function of (run seed, seed).

        Of as many seeds in a row as there are texts, each has another; choices are drawn for each seed alone.
        """
        turn, place = divmod(seed, len(self.texts))
        order = np.random.default_rng([self.run_seed, turn, _TEXTS]).permutation(len(self.texts))
        rng = np.random.default_rng([self.run_seed, seed, _CHOICES])
        drawn = {name: options[int(rng.integers(len(options)))] for name, options in sorted(self.choices.items())}
        return self.texts[int(order[place])].format_map(drawn)

    @property
    def longest(self) -> list[str]:
        """Each text with the longest of all choices."""
        chosen = {name: max(options, key=len) for name, options in self.choices.items()}
        return [text.format_map(chosen) for text in self.texts]

    @property
    def record(self) -> dict[str, Any]:
        """All that a prompt depends on beside its seed, as JSON holds it."""
        choices = {name: list(options) for name, options in self.choices.items()}
        return {"texts": list(self.texts), "choices": choices, "run_seed": self.run_seed}

    def _names(self, text: str) -> list[str]:
        """The choices that a template names."""
        try:
            fields = [(name, spec, how) for _, name, spec, how in Formatter().parse(text) if name is not None]
        except ValueError as error:
            raise GenerateError(f"prompt {text!r}: {error}; write {{{{ and }}}} for braces that are painted") from error
        known = ", ".join(self.choices) or "none"
        for name, spec, how in fields:
            if name not in self.choices or spec or how:
                raise GenerateError(
                    f"prompt {text!r}: {{{name}}} is no choice; known are {known}; add choices.{name or 'NAME'}"
                )
        return [name for name, _, _ in fields]

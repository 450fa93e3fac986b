"""The recipe: one validated configuration of a run, read from a TOML file."""

import tomllib
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError, ValidationInfo, field_validator

from pipelines.errors import RecipeError
from pipelines.places import place_paths, recipe_file
from pipelines.sections.bounds import mistakes
from pipelines.sections.card import CardSection
from pipelines.sections.classes import ClassesSection
from pipelines.sections.cluster import ClusterSection
from pipelines.sections.denoiser import DenoiserSection
from pipelines.sections.features import FeaturesSection
from pipelines.sections.generate import GenerateSection
from pipelines.sections.interpreter import InterpreterSection
from pipelines.sections.keys import Section
from pipelines.sections.painter import PainterSection
from pipelines.sections.paths import PathsSection
from pipelines.sections.study import StudySection
from pipelines.sections.train import TrainSection
from pipelines.sections.train_ddpm import TrainDDPMSection

_ALIKE = 0.7  # of two keys, by the letters that they share: the second is meant by the first


class Recipe(Section):
    """All of a run."""

    name: str
    """What the report calls the run."""
    paths: PathsSection
    denoiser: DenoiserSection = DenoiserSection()
    painter: PainterSection = PainterSection()
    classes: ClassesSection | None = None
    train_ddpm: TrainDDPMSection = TrainDDPMSection()
    interpreter: InterpreterSection = InterpreterSection()
    generate: GenerateSection = GenerateSection()
    cluster: ClusterSection = ClusterSection()
    train: TrainSection = TrainSection()
    features: FeaturesSection = FeaturesSection()
    study: StudySection = StudySection()
    card: CardSection = CardSection()

    @field_validator("painter")
    @classmethod
    def _has_a_painter(cls, painter: PainterSection, known: ValidationInfo) -> PainterSection:
        if "paths" in known.data and known.data["paths"].painter is None:
            raise ValueError("paths.painter is missing; it names the model that paints so")
        return painter

    def with_batch(self, batch_size: int) -> "Recipe":
        return self.model_copy(update={"generate": self.generate.changed(batch_size=batch_size)})

    def by_dataset(self) -> list["Recipe"]:
        """The recipe for each of the datasets that it makes: of what is painted, of photographs."""
        source = self.generate.source.images
        kinds = ("denoiser", "photographs") if source == "both" else (source,)
        return [self.model_copy(update={"generate": self.generate.changed(images=kind)}) for kind in kinds]

    @property
    def makes_dataset(self) -> bool:
        """False for a recipe without [generate]: the interpreter alone, which labels images that exist (DDPM-Seg)."""
        return "generate" in self.model_fields_set

    @classmethod
    def load(cls, recipe: str | Path, overrides: tuple[str, ...] = ()) -> "Recipe":
        """Read a TOML file, or a shipped recipe by its name, and apply `section.key=value` overrides.

        Raises RecipeError, of several mistakes in the values with all of them.
        """
        path = recipe_file(recipe)
        try:
            tree = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise RecipeError(f"{recipe} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:  # TOML's or a file's that is no text; of one nested deeply
            raise RecipeError(f"{recipe} is not TOML: {error}") from error
        for override in overrides:
            _apply(tree, override)
        if wrong := mistakes(tree):
            raise RecipeError(f"{recipe}: {'; '.join(wrong)}")
        place_paths(tree, path)
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise RecipeError(f"{recipe}: {'; '.join(_mistake(e) for e in error.errors())}") from error


def sections() -> dict[str, type[Section]]:
    """Every section of a recipe, by its name."""
    kinds = {name: (field.annotation, *get_args(field.annotation)) for name, field in Recipe.model_fields.items()}
    return {
        name: kind
        for name, possible in kinds.items()
        for kind in possible
        if isinstance(kind, type) and issubclass(kind, Section)
    }


def _apply(tree: dict[str, Any], override: str) -> None:
    keys, equals, value = override.partition("=")
    if not equals or not keys.strip():
        raise RecipeError(f"override {override!r} is not of the form section.key=value")
    *sections, last = keys.strip().split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise RecipeError(f"override {override!r}: {section} is a value, not a section")
    try:
        tree[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        tree[last] = value  # a bare word is a string
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"override {keys.strip()}: its value cannot be read: {error}") from error


def _mistake(error: Any) -> str:
    """One mistake as `key: what is wrong`; an unknown key is answered with the known ones."""
    section = sections().get(str(error["loc"][0]), Recipe)
    place = [part for part in map(str, error["loc"]) if part not in section.owned()]
    key = ".".join(place)
    if error["type"] == "extra_forbidden" and len(place) > 2 and (table := section.lists().get(place[1])):
        return f"{key}: unknown key; known are {', '.join(table.keys())}"
    if error["type"] == "extra_forbidden":
        if meant := _meant(key):
            return f"{key}: unknown key; is {meant} meant?"
        return f"{key}: unknown key; known are {', '.join((section if len(place) > 1 else Recipe).keys())}"
    message = error["msg"].removeprefix("Value error, ").replace("Input", "it", 1)
    return f"{key}: {message}" + ("" if error["type"] in ("missing", "value_error") else f", not {error['input']!r}")


def _meant(key: str) -> str | None:
    """The key or section that a mistyped one is most like, those of its own section first."""
    keys = [f"{name}.{own}" for name, section in sections().items() for own in section.keys()]  # noqa: SIM118
    likeness = {known: _likeness(key, known) for known in [*Recipe.keys(), *keys]}
    best = max(likeness, key=lambda known: likeness[known])
    return best if likeness[best] >= _ALIKE else None


def _likeness(key: str, known: str) -> float:
    (section, _, own), (other, _, another) = key.rpartition("."), known.rpartition(".")
    alike = SequenceMatcher(None, own, another).ratio()
    return alike + 0.1 * (section == other) if alike >= _ALIKE else 0.0

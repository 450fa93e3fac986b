"""The recipe: one validated configuration of a run, read from a TOML file.

Relative paths start at the working directory; `{recipe}` in a path stands for the folder that the recipe lies in.
"""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.errors import RecipeError
from pipelines.sections import (
    ClassesSection,
    ClusterSection,
    DenoiserSection,
    GenerateSection,
    InterpreterSection,
    PathsSection,
    Section,
    StudySection,
    TrainDDPMSection,
    TrainSection,
)


class Recipe(Section):
    """All of a run."""

    name: str
    paths: PathsSection
    denoiser: DenoiserSection = DenoiserSection()
    classes: ClassesSection | None = None
    train_ddpm: TrainDDPMSection = TrainDDPMSection()
    interpreter: InterpreterSection = InterpreterSection()
    generate: GenerateSection = GenerateSection()
    cluster: ClusterSection = ClusterSection()
    train: TrainSection = TrainSection()
    study: StudySection = StudySection()

    def resolved(self) -> "Recipe":
        """The same with absolute paths; Hub ids, URLs and names of weights stay what they are."""
        local = {name: path for name, path in self.paths if isinstance(path, Path)}
        paths = {name: path.resolve() for name, path in local.items() if name != "denoiser" or path.exists()}
        weights, train = Path(self.train.encoder_weights or ""), self.train
        if weights.is_file():
            train = train.model_copy(update={"encoder_weights": str(weights.resolve())})
        return self.model_copy(update={"paths": self.paths.model_copy(update=paths), "train": train})

    def with_batch(self, batch_size: int) -> "Recipe":
        return self.model_copy(update={"generate": self.generate.model_copy(update={"batch_size": batch_size})})

    @property
    def makes_dataset(self) -> bool:
        """False for a recipe without [generate]: the interpreter alone, which labels images that exist (DDPM-Seg)."""
        return "generate" in self.model_fields_set

    @classmethod
    def load(cls, path: Path, overrides: tuple[str, ...] = ()) -> "Recipe":
        """Read a TOML file and apply `section.key=value` overrides. Raises RecipeError with every mistake."""
        if not path.is_file():
            raise RecipeError(f"{path} is no file; a recipe in TOML is needed")
        try:
            tree = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path} is not TOML: {error}") from error
        for override in overrides:
            _apply(tree, override)
        if isinstance(tree.get("paths"), dict):
            home = str(path.resolve().parent)
            tree["paths"] = {
                key: Path(value.replace("{recipe}", home)) if isinstance(value, str) and "://" not in value else value
                for key, value in tree["paths"].items()
            }
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise RecipeError(f"{path}: {'; '.join(_mistake(e, cls) for e in error.errors())}") from error


SECTIONS: dict[str, type[Section]] = {
    "paths": PathsSection,
    "denoiser": DenoiserSection,
    "classes": ClassesSection,
    "train_ddpm": TrainDDPMSection,
    "interpreter": InterpreterSection,
    "generate": GenerateSection,
    "cluster": ClusterSection,
    "train": TrainSection,
    "study": StudySection,
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


def _mistake(error: Any, recipe: type[Recipe]) -> str:
    """One mistake as `key: what is wrong`; an unknown key is answered with the known ones."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        fields = recipe.model_fields
        if len(error["loc"]) > 1:
            section = SECTIONS[str(error["loc"][0])]
            fields = section.model_fields
        return f"{key}: unknown key; known are {', '.join(fields)}"
    message = error["msg"].removeprefix("Value error, ").replace("Input", "it", 1)
    return f"{key}: {message}" + ("" if error["type"] in ("missing", "value_error") else f", not {error['input']!r}")


def digest_of(record: dict[str, Any]) -> str:
    """sha256 of a JSON record, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

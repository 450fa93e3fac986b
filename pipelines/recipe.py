"""The recipe: one validated configuration of a run, read from a TOML file."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from pipelines.errors import RecipeError
from pipelines.keys import Section
from pipelines.sections import (
    ClassesSection,
    ClusterSection,
    DenoiserSection,
    GenerateSection,
    InterpreterSection,
    StudySection,
    TrainDDPMSection,
    TrainSection,
)


class PathsSection(Section):
    """Where things come from and go to.

    Relative paths start at the working directory; `{recipe}` in a path stands for the folder that the recipe lies in.
    """

    out: Path
    """The folder of all that the run makes."""
    dataset: Path | str | None = None
    """Where the shards go, also as a URL, such as s3://bucket/folder; unset: the folder dataset in paths.out."""
    denoiser: Path | str
    """The diffusion model: a .pt, a diffusers folder, a URL of either, or a Hub id; `train-ddpm` writes it there."""
    annotated: Path
    """The folder of the few annotated images."""
    held_out: Path | None = None
    """A folder of annotated images that nothing is trained on, to evaluate by."""
    validation: Path | None = None
    """A folder of annotated images by which the best step of a DeepLab training is chosen; unset: the last is kept."""
    unlabelled: Path | None = None
    """The folder of images that `train-ddpm` trains on."""


class Recipe(Section):
    """All of a run."""

    name: str
    """What the report calls the run."""
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
        weights, train = Path(self.train.network.encoder_weights or ""), self.train
        if weights.is_file():
            train = train.changed(encoder_weights=str(weights.resolve()))
        return self.model_copy(update={"paths": self.paths.model_copy(update=paths), "train": train})

    def with_batch(self, batch_size: int) -> "Recipe":
        return self.model_copy(update={"generate": self.generate.changed(batch_size=batch_size)})

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
            folder = str(path.resolve().parent)
            tree["paths"] = {
                key: Path(value.replace("{recipe}", folder)) if isinstance(value, str) and "://" not in value else value
                for key, value in tree["paths"].items()
            }
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise RecipeError(f"{path}: {'; '.join(_mistake(e) for e in error.errors())}") from error


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


def _mistake(error: Any) -> str:
    """One mistake as `key: what is wrong`; an unknown key is answered with the known ones."""
    section = sections().get(str(error["loc"][0]), Recipe)
    place = [part for part in map(str, error["loc"]) if part not in section.owned()]
    key = ".".join(place)
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key; known are {', '.join((section if len(place) > 1 else Recipe).keys())}"
    message = error["msg"].removeprefix("Value error, ").replace("Input", "it", 1)
    return f"{key}: {message}" + ("" if error["type"] in ("missing", "value_error") else f", not {error['input']!r}")


def digest_of(record: dict[str, Any]) -> str:
    """sha256 of a JSON record, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

"""What may be chosen of a recipe's feature source: steps and blocks of a denoiser, layers of any other."""

from collections.abc import Iterable
from typing import Any

from label import DenoiserFeatures, FeatureSource
from label.joint import single_sources
from label.source_kinds import DENOISER, key_of
from pipelines.errors import RecipeError
from pipelines.features.choices import Choice
from pipelines.recipe import Recipe
from pipelines.units.devices import device
from pipelines.units.models import open_features


def asked(recipe: Recipe) -> tuple[FeatureSource, Choice, Choice]:
    """A source of all maps that may be chosen, which these are, and which of them the recipe reads.

    Raises RecipeError for a recipe that reads several sources side by side.
    """
    if len(recipe.interpreter.sources) > 1:
        raise RecipeError(
            f"interpreter.features names {', '.join(recipe.interpreter.sources)}; maps are chosen of one source at a "
            "time: name one, as --set interpreter.features=denoiser"
        )
    own, whole = _read(recipe), _candidates(recipe)
    return open_features(_reading(recipe, whole), device()), whole, own


def keys_of(recipe: Recipe, choice: Choice) -> dict[str, str]:
    """The keys of [interpreter] that make the choice, with their values as TOML has them."""
    if _of_denoiser(recipe):
        return {key: str(values) for key, values in choice.as_json.items()}
    (kind,) = recipe.interpreter.sources
    return {"layers": f"{{ {key_of(kind)} = {choice.as_json['layers']} }}"}


def lines_of(recipe: Recipe, choice: Choice) -> list[str]:
    """As a recipe has them, a key a line."""
    return [f"{key} = {value}" for key, value in keys_of(recipe, choice).items()]


def _of_denoiser(recipe: Recipe) -> bool:
    return recipe.interpreter.sources == [DENOISER]


def _read(recipe: Recipe) -> Choice:
    """What the recipe reads."""
    if _of_denoiser(recipe):
        return Choice.of({"steps": tuple(recipe.interpreter.steps), "blocks": tuple(recipe.interpreter.blocks)})
    (source,) = single_sources(open_features(recipe, "cpu"))
    return Choice.of({"layers": tuple(_identity(source)["layers"])})


def _candidates(recipe: Recipe) -> Choice:
    """What it reads, and what [features] adds."""
    wanted, own = recipe.features, _read(recipe)
    if not _of_denoiser(recipe):
        return Choice.of({"layers": _sorted(*own.as_json["layers"], *(wanted.layers or ()))})
    blocks = _blocks(recipe) if wanted.blocks is None else wanted.blocks
    return Choice.of(
        {"steps": _sorted(*own.as_json["steps"], *wanted.steps), "blocks": _sorted(*own.as_json["blocks"], *blocks)}
    )


def _blocks(recipe: Recipe) -> Iterable[int]:
    (source,) = single_sources(open_features(recipe, "cpu"))
    assert isinstance(source, DenoiserFeatures)
    return range(len(source.denoiser.blocks))


def _reading(recipe: Recipe, choice: Choice) -> Recipe:
    """The recipe that reads the choice."""
    keys: dict[str, Any] = choice.as_json
    if not _of_denoiser(recipe):
        keys = {"layers": {recipe.interpreter.sources[0]: keys["layers"]}}
    return recipe.model_copy(update={"interpreter": recipe.interpreter.changed(**keys)})


def _identity(source: FeatureSource) -> dict[str, Any]:
    from label.backbone import Backbone  # here, since a denoiser needs no backbone's packages

    assert isinstance(source, Backbone)
    return source.identity


def _sorted(*values: int) -> tuple[int, ...]:
    return tuple(sorted(set(values)))

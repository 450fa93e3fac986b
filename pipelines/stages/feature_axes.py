"""What may be chosen of a recipe's feature source: steps and blocks of a denoiser, layers of any other."""

from label import DenoiserFeatures, FeatureSource
from pipelines.recipe import Recipe
from pipelines.stages.feature_choices import Choice
from pipelines.stages.fit import open_features


def asked(recipe: Recipe) -> tuple[FeatureSource, Choice, Choice]:
    """A source of all maps that may be chosen, which these are, and which of them the recipe reads."""
    settings, wanted, own = recipe.interpreter, recipe.features, open_features(recipe)
    blocks = range(len(own.denoiser.blocks)) if wanted.blocks is None else wanted.blocks
    steps, blocks = sorted({*wanted.steps, *settings.steps}), sorted({*blocks, *settings.blocks})
    features = DenoiserFeatures(own.denoiser, steps=steps, blocks=blocks, where=settings.where, noise=own.noise)
    whole = Choice.of({"steps": tuple(steps), "blocks": tuple(blocks)})
    return features, whole, Choice.of({"steps": tuple(settings.steps), "blocks": tuple(settings.blocks)})


def keys_of(recipe: Recipe, choice: Choice) -> dict[str, str]:
    """The keys of [interpreter] that make the choice, with their values as TOML has them."""
    return {key: str(values) for key, values in choice.as_json.items()}


def lines_of(recipe: Recipe, choice: Choice) -> list[str]:
    """As a recipe has them, a key a line."""
    return [f"{key} = {value}" for key, value in keys_of(recipe, choice).items()]

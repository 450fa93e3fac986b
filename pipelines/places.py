"""Where a recipe lies, and where the paths in it start: at its folder.

A shipped recipe is called by its name. Its paths start at the working directory, and `package:demo/model` is what comes
with the package.
"""

import os
from pathlib import Path
from typing import Any

from generate.identity import HUB_ID, STATE_DICTS
from pipelines.errors import RecipeError
from pipelines.sections.train import OWN

PACKAGE = Path(__file__).parent
_RECIPES = PACKAGE / "recipes"
_OF_PACKAGE = "package:"
RANDOM = "random"
"""In place of a file of weights: the network as it is before any training."""
_MAY_BE_URLS = ("denoiser", "painter", "dataset", "photographed", "unlabelled")


def shipped() -> dict[str, Path]:
    """The recipes of the package by their names: horse_21 is the one of DatasetDDPM, ddpm_seg/horse_21 the other."""
    names = {path.relative_to(_RECIPES).with_suffix("").as_posix(): path for path in _RECIPES.rglob("*.toml")}
    return dict(sorted((name.removeprefix("datasetddpm/"), path) for name, path in names.items()))


def recipe_file(recipe: str | Path) -> Path:
    """The file of a recipe that is given by its path, or of a shipped one by its name. Raises RecipeError."""
    path = Path(recipe)
    try:
        if path.is_file():
            return path
    except (OSError, ValueError) as error:  # a name too long, or that no file has
        raise RecipeError(f"{str(recipe)[:80]!r} is no name of a file ({error})") from error
    known = shipped()
    if (name := path.as_posix()) in known:
        return known[name]
    raise RecipeError(
        f"{recipe} is no file; a recipe in TOML is needed, or the name of a shipped one: {', '.join(known)}"
    )


def is_recipe(place: str) -> bool:
    """Whether it is meant as a recipe, where a folder might stand as well."""
    path = Path(place)
    return path.is_file() or path.suffix == ".toml" or (not path.exists() and path.as_posix() in shipped())


def place_paths(tree: dict[str, Any], recipe: Path) -> None:
    """Make the paths of a recipe's tables absolute; URLs, Hub ids and names of weights stay what they are.

    Raises RecipeError for a URL where a folder of this machine is needed, or it would become one named `s3:`.
    """
    folder = Path.cwd() if recipe.resolve().is_relative_to(_RECIPES.resolve()) else recipe.absolute().parent
    paths, train, ddpm, cluster = (_table(tree.get(name)) for name in ("paths", "train", "train_ddpm", "cluster"))
    for key, value in paths.items():
        if isinstance(value, str):
            if "://" in value and key not in _MAY_BE_URLS:
                raise RecipeError(f"paths.{key} is {value}, a URL; a folder on this machine is needed there")
            opened = key == "painter" or (key == "denoiser" and "unlabelled" not in paths)
            stays = opened and _is_hub_id(value, folder)
            paths[key] = Path(value) if stays else _placed(value, folder)
        elif key == "weights" and isinstance(value, dict):
            _place_weights(value, folder)
    if isinstance(weights := train.get("encoder_weights"), str):
        file = Path(_placed(weights, folder))
        train["encoder_weights"] = str(file) if file.is_file() else weights
    if isinstance(init := ddpm.get("init"), str):
        ddpm["init"] = Path(init) if _is_hub_id(init, folder) else _placed(init, folder)
    if isinstance(shared := cluster.get("shared"), list):
        cluster["shared"] = [str(_placed(each, folder)) if isinstance(each, str) else each for each in shared]
    mix = train.get("mix")
    for each in map(_table, mix if isinstance(mix, list) else ()):
        source = each.get("source")
        if isinstance(source, str) and source not in OWN:
            each["source"] = str(_placed(source, folder))


def _table(value: Any) -> dict[str, Any]:
    """The very table, or an empty one for what is none, which is told later."""
    return value if isinstance(value, dict) else {}


def _place_weights(weights: dict[str, Any], folder: Path) -> None:
    for kind, value in weights.items():
        if isinstance(value, str) and value != RANDOM:
            weights[kind] = _placed(value, folder)


def _placed(value: str, folder: Path) -> Path | str:
    """A path as a whole one, a URL as it is."""
    if "://" in value:
        return value
    if value.startswith(_OF_PACKAGE):
        return PACKAGE / value.removeprefix(_OF_PACKAGE)
    return Path(os.path.abspath(folder / Path(value).expanduser()))


def _is_hub_id(value: str, folder: Path) -> bool:
    """Whether it may be one, and nothing of that name lies beside the recipe."""
    is_one = HUB_ID.fullmatch(value) and not value.startswith((".", "~")) and not value.endswith(STATE_DICTS)
    return bool(is_one) and not (folder / value).exists()

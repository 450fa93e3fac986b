"""The annotated images of a recipe, with its classes."""

import hashlib
from dataclasses import replace
from pathlib import Path

from label import Annotations, load_annotations
from pipelines.errors import RecipeError
from pipelines.recipe import Recipe


def open_annotations(recipe: Recipe, folder: Path, size: tuple[int, int]) -> Annotations:
    """A folder of annotated images at `size` (height, width), with the recipe's [classes] where it has some."""
    if recipe.classes is None:
        return load_annotations(folder, size)
    return load_annotations(folder, size, scheme=recipe.classes.scheme, ignore=recipe.classes.ignore)


def annotated_few(recipe: Recipe, size: tuple[int, int]) -> Annotations:
    """paths.annotated, or as many of it as interpreter.images says. Raises RecipeError where the recipe has none."""
    if recipe.paths.annotated is None:
        raise RecipeError("paths.annotated is missing; it names the folder of annotated images")
    whole, most = open_annotations(recipe, recipe.paths.annotated, size), recipe.interpreter.images
    return replace(whole, names=whole.names[:most], images=whole.images[:most], masks=whole.masks[:most])


def annotations_digest(annotations: Annotations) -> str:
    """sha256 of classes, images and masks; names of files do not count."""
    content = hashlib.sha256(repr(annotations.scheme).encode())
    content.update(annotations.images.tobytes() + annotations.masks.tobytes())
    return content.hexdigest()

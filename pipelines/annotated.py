"""The annotated images of a recipe, with its classes, and what is wrong with their labels."""

import hashlib
from dataclasses import replace
from pathlib import Path

from label import AnnotationError, Annotations, LabelError, load_annotations
from label.pairs import find_pairs
from pipelines.errors import RecipeError
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.recognised import to_be_imported


def open_annotations(recipe: Recipe, folder: Path, size: tuple[int, int]) -> Annotations:
    """A folder of annotated images at `size` (height, width), with the recipe's [classes] where it has some.

    Images without masks are told. AnnotationError names the command that takes in what another tool wrote there.
    """
    try:
        if recipe.classes is None:
            annotations = load_annotations(folder, size)
        else:
            annotations = load_annotations(folder, size, scheme=recipe.classes.scheme, ignore=recipe.classes.ignore)
    except LabelError as error:
        if not has_masks(folder) and (clause := to_be_imported(folder)):
            raise AnnotationError(clause) from error
        raise
    if annotations.unmasked:
        console.print(annotations.note)
    return annotations


def has_masks(folder: Path) -> bool:
    """Whether any image in the folder has a mask of ours."""
    try:
        return bool(find_pairs(folder).annotated)
    except AnnotationError:
        return False


def annotated_few(recipe: Recipe, size: tuple[int, int]) -> Annotations:
    """paths.annotated, or as many of it as interpreter.images says.

    Raises RecipeError where the recipe has none, AnnotationError where nothing can be learnt of a class: all labelled
    pixels are of one, or scheme.toml has one that no pixel has. The [classes] of a recipe may be those of several
    folders, and are not expected in each.
    """
    if recipe.paths.annotated is None:
        raise RecipeError("paths.annotated is missing; it names the folder of annotated images")
    whole, most = open_annotations(recipe, recipe.paths.annotated, size), recipe.interpreter.images
    folder, pixels, names = recipe.paths.annotated, whole.class_pixels.sum(axis=0), whole.scheme.names
    seen = [name for name, count in zip(names, pixels, strict=True) if count]
    unseen = ", ".join(name for name in names if name not in seen)
    if len(seen) == 1:
        raise AnnotationError(f"{folder}: all labelled pixels are {seen[0]}; label pixels of the others, too: {unseen}")
    if seen and unseen and recipe.classes is None:
        raise AnnotationError(
            f"{folder}: no pixel is labelled {unseen}; label some, or take it out of scheme.toml, after which the ids "
            "behind it are one lower"
        )
    return replace(whole, names=whole.names[:most], images=whole.images[:most], masks=whole.masks[:most])


def annotations_digest(annotations: Annotations) -> str:
    """sha256 of classes, images and masks; names of files do not count."""
    content = hashlib.sha256(repr(annotations.scheme).encode())
    content.update(annotations.images.tobytes() + annotations.masks.tobytes())
    return content.hexdigest()

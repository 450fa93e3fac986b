"""Stage fit: a few annotated images to an interpreter."""

import hashlib
from dataclasses import replace
from pathlib import Path

from generate import CheckpointError
from label import Annotations, DenoiserFeatures, Interpreter, load_annotations
from label.fitting import labelled_pixels
from pipelines.errors import RecipeError
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.stage import Outcome, Record, device
from pipelines.worker import interpreter_folder, open_denoiser


def open_features(recipe: Recipe) -> DenoiserFeatures:
    """The denoiser's features as the recipe wants them; a step or block that it lacks is the recipe's mistake."""
    denoiser = open_denoiser(recipe, device())
    settings = recipe.interpreter
    try:
        return DenoiserFeatures(denoiser, steps=settings.steps, blocks=settings.blocks, where=settings.where)
    except CheckpointError:
        raise
    except ValueError as error:
        raise RecipeError(f"interpreter: {error}") from error


def open_annotations(recipe: Recipe, folder: Path, size: tuple[int, int]) -> Annotations:
    """A folder of annotated images at `size`, with the recipe's [classes] where it has some."""
    if recipe.classes is None:
        return load_annotations(folder, size)
    return load_annotations(folder, size, scheme=recipe.classes.scheme, ignore=recipe.classes.ignore)


def annotated_few(recipe: Recipe, size: tuple[int, int]) -> Annotations:
    """paths.annotated, or as many of it as interpreter.images says."""
    found, most = open_annotations(recipe, recipe.paths.annotated, size), recipe.interpreter.images
    return replace(found, names=found.names[:most], images=found.images[:most], masks=found.masks[:most])


def annotations_digest(annotations: Annotations) -> str:
    whole = hashlib.sha256(repr(annotations.scheme).encode())
    whole.update(annotations.images.tobytes() + annotations.masks.tobytes())
    return whole.hexdigest()


def fit(recipe: Recipe) -> Outcome:
    """Fit all members on paths.annotated and write the interpreter's folder."""
    features = open_features(recipe)
    annotations = annotated_few(recipe, features.image_size)
    settings = recipe.interpreter.fitting
    inputs = {
        "features": features.digest,
        "annotations": annotations_digest(annotations),
        "settings": recipe.interpreter.model_dump(mode="json"),
    }
    record = Record.of(interpreter_folder(recipe), inputs)
    what = f"an interpreter of {settings.members} members, from {len(annotations.names)} images"
    if record.found():
        return record.outcome(what, fresh=False)
    try:
        labelled_pixels(annotations.masks, settings.min_class_pixels)
    except ValueError as error:
        raise RecipeError(f"interpreter.min_class_pixels: {error}") from error
    with record.making():
        interpreter, steps = Interpreter.fitting(
            features,
            annotations.images,
            annotations.masks,
            classes=annotations.scheme,
            settings=settings,
            upsampling=recipe.interpreter.upsampling,
            device=device(),
        )
        batches = 0
        for step in follow(
            steps,
            settings.batches(annotations.masks.size),
            "fit",
            "batches",
            note=lambda s: (
                f"if no member stops early; loss {s.loss:.3f}, {s.training} of {settings.members} members training"
            ),
        ):
            batches = step.number
        interpreter.save_pretrained(record.folder)
        record.results = {"batches": batches}
    return record.outcome(what, fresh=True)

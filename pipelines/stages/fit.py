"""Stage fit: a few annotated images to an interpreter."""

from functools import partial
from pathlib import Path

from label import Annotations, DenoiserFeatures, Interpreter
from label.fitting import labelled_pixels
from pipelines.annotated import annotated_few, annotations_digest
from pipelines.folders import interpreter_folder
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Results, once
from pipelines.standing import say_what_is_unfinished
from pipelines.units.devices import device
from pipelines.units.models import open_denoiser


def open_features(recipe: Recipe) -> DenoiserFeatures:
    """The denoiser's features as the recipe wants them."""
    denoiser, settings = open_denoiser(recipe, device()), recipe.interpreter
    return DenoiserFeatures(denoiser, steps=settings.steps, blocks=settings.blocks, where=settings.where)


def fit(recipe: Recipe) -> Outcome:
    """Fit all members on paths.annotated and write the interpreter's folder."""
    say_what_is_unfinished(recipe)
    features = open_features(recipe)
    annotations = annotated_few(recipe, features.image_size)
    settings = recipe.interpreter.fitting
    inputs = {
        "features": features.digest,
        "paths": {"annotated": annotations_digest(annotations)},
        "interpreter": recipe.interpreter.model_dump(mode="json"),
    }
    labelled_pixels(annotations.masks, settings.min_class_pixels)  # or there is nothing to learn
    clause = f"an interpreter of {settings.members} members, from {len(annotations.names)} images"
    return once(interpreter_folder(recipe), inputs, partial(_fit, recipe, features, annotations), clause=clause)


def _fit(recipe: Recipe, features: DenoiserFeatures, annotations: Annotations, folder: Path) -> Results:
    settings, batches = recipe.interpreter.fitting, 0
    interpreter, steps = Interpreter.fitting(
        features,
        annotations.images,
        annotations.masks,
        classes=annotations.scheme,
        settings=settings,
        upsampling=recipe.interpreter.upsampling,
        device=device(),
    )
    for step in follow(
        steps,
        settings.batches(annotations.masks.size),
        "fit",
        "batches",
        note=lambda step: (
            f"if no member stops early; loss {step.loss:.3f}, {step.training} of {settings.members} members training"
        ),
    ):
        batches = step.number
    interpreter.save_pretrained(folder)
    return {"batches": batches}

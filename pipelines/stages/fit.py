"""Stage fit: a few annotated images to an interpreter."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from label import IGNORE, Annotations, DenoiserFeatures, FeatureSource, Interpreter, JointFeatures, LatentFeatures
from label.fitting import labelled_pixels
from label.joint import single_sources
from pipelines.annotated import annotated_few, annotations_digest
from pipelines.folders import interpreter_folder
from pipelines.progress import console, follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Results, once
from pipelines.stages.made_with import say_what_is_unfinished
from pipelines.stages.sample import WEIGHTS, provenance
from pipelines.units.devices import device
from pipelines.units.models import open_features
from pipelines.units.painter import painter_files

_SCALED_BY = 8  # annotated images, at most
_OUTPUTS = ("features.*", "interpreter.*", "source-*/**/*")


def fit(recipe: Recipe) -> Outcome:
    """Fit all members on paths.annotated and write the interpreter's folder."""
    say_what_is_unfinished(recipe)
    features = open_features(recipe, device())
    annotations = annotated_few(recipe, features.image_size)
    settings = recipe.interpreter.fitting
    inputs = {
        "features": features.digest,
        "paths": {"annotated": annotations_digest(annotations)},
        "interpreter": recipe.interpreter.made_with(),
    }
    labelled_pixels(annotations.masks, settings.min_class_pixels)  # or there is nothing to learn
    clause = f"an interpreter of {settings.members} members, from {len(annotations.names)} images"
    return once(
        interpreter_folder(recipe),
        inputs,
        partial(_fit, recipe, features, annotations),
        clause=clause,
        outputs=_OUTPUTS,
    )


def label_lines(recipe: Recipe, annotations: Annotations) -> Iterator[str]:
    """What is labelled: images, pixels of each class, the ignored share, and the classes that are hardly seen."""
    least, names = recipe.interpreter.fitting.min_class_pixels, annotations.scheme.names
    pixels, whole = annotations.class_pixels, annotations.masks.size
    height, width = annotations.masks.shape[1:]
    ignored = (annotations.masks == IGNORE).sum() / whole
    images = f"{len(pixels)} images of {width}x{height} in {recipe.paths.annotated}"
    yield f"fit: {images}, {ignored:.1%} of the pixels ignored"
    longest = max(map(len, names))
    seen = (pixels >= max(1, least)).sum(axis=0)
    for name, count, images in zip(names, pixels.sum(axis=0), seen, strict=True):
        yield f"  {name:{longest}} {count:>10,} pixels {count / whole:>6.1%}, in {images} images"
    skipped = recipe.classes.ignore if recipe.classes else IGNORE
    rare = [f"{names[i]} in {seen[i]}" for i in np.flatnonzero(seen < 2) if i != skipped]
    if rare:
        yield (
            f"fit: warning: these classes are in fewer than two images, and hardly learnt: {', '.join(rare)} "
            f"(an image counts from interpreter.min_class_pixels = {least} pixels on)"
        )


def strangers(folder: Path, annotations: Annotations, models: set[str]) -> str:
    """A warning where images were sampled from another model than those of these digests; "" otherwise."""
    origins = {name: provenance(folder / f"{name}.png") for name in annotations.names}
    others = [name for name, origin in origins.items() if origin and _painted_by(origin) not in models]
    if not others:
        return ""
    return (
        f"fit: warning: {len(others)} of {len(origins)} images, as {others[0]}, were sampled from another model than "
        "the recipe's; see that each mask belongs to the image beside it"
    )


def _painted_by(origin: dict[str, Any]) -> object:
    return origin.get(WEIGHTS, origin.get("denoiser"))


def like_spread(features: FeatureSource, annotations: Annotations) -> FeatureSource:
    """Of several sources, each scaled to the same mean deviation over annotated images; any other as it is."""
    if isinstance(features, JointFeatures):
        return JointFeatures.scaled(features.sources, annotations.images[:_SCALED_BY])
    return features


def _fit(recipe: Recipe, features: FeatureSource, annotations: Annotations, folder: Path) -> Results:
    settings, batches = recipe.interpreter.fitting, 0
    folder_of_few = recipe.paths.annotated
    read = [source for source in single_sources(features) if isinstance(source, DenoiserFeatures | LatentFeatures)]
    models = {source.denoiser.digest for source in read}
    models |= {painter_files(recipe).digest()} if recipe.paths.painter else set()
    warning = strangers(folder_of_few, annotations, models) if folder_of_few and models else ""
    for line in (*label_lines(recipe, annotations), *filter(None, [warning])):
        console.print(line)
    features = like_spread(features, annotations)
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
        folder=folder,
    ):
        batches = step.number
    interpreter.save_pretrained(folder)
    return {"batches": batches}

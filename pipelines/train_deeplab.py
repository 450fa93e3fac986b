"""Stage train: DeepLabV3 on the shards and, to compare, the same network on the annotated images alone."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

import deeplab
from label import IGNORE, Annotations
from pipelines.fit_interpreter import annotated_few, annotations_digest
from pipelines.progress import follow
from pipelines.recipe import Recipe, RecipeError, TrainSection
from pipelines.shards import class_pixels, open_dataset, read_shards, reports, stream
from pipelines.stage import Outcome, Record, device
from pipelines.storage import Location
from pipelines.worker import dataset_folder

Source = Literal["synthetic", "annotated"]
Pair = tuple[np.ndarray, np.ndarray]


def network_folder(recipe: Recipe, source: Source, seed: int) -> Path:
    return recipe.paths.out / "deeplab" / f"{source}-seed{seed}"


def sources(recipe: Recipe) -> list[Source]:
    """What networks are trained on; none for an interpreter alone."""
    if not recipe.makes_dataset:
        return []
    return ["synthetic", "annotated"] if recipe.train.baseline else ["synthetic"]


def train(recipe: Recipe) -> Outcome:
    """Train one network for each seed and source; those that are there already are left alone."""
    folder = dataset_folder(recipe)
    names, made = open_dataset(folder).names, reports(folder)
    annotations = annotated_few(recipe, stored_size(folder)) if recipe.train.baseline else None
    settings = recipe.train.model_dump(mode="json", exclude={"seeds", "baseline"})
    fresh, seconds = False, 0.0
    for seed in recipe.train.seeds:
        for source in sources(recipe):
            if source == "annotated":
                assert annotations is not None
                data, pairs = annotations_digest(annotations), _annotated_pairs(annotations, seed)
                pixels = [class_pixels(mask, annotations.scheme) for mask in annotations.masks]
            else:
                data, pairs = [report.sha256 for report in made], _synthetic_pairs(folder, seed)
                pixels = [c.class_pixels for report in made for c in report.candidates if c.kept]
            inputs = {"settings": settings, "seed": seed, "data": data}
            record = Record.of(network_folder(recipe, source, seed), inputs)
            if not record.found():
                fresh = True
                model = _build(recipe.train, names, seed)
                with record.making():
                    steps = _fit(recipe.train, model, pairs, np.sum(pixels, axis=0), seed)
                    what = f"train on {source}, seed {seed}"
                    shown = follow(steps, recipe.train.steps, what, "steps", note=lambda s: f"loss {s.loss:.3f}")
                    record.results = {"losses": [round(step.loss, 4) for step in shown]}
                    deeplab.save(model, record.folder)
            seconds += record.seconds
    networks = len(recipe.train.seeds) * len(sources(recipe))
    return Outcome(
        f"{networks} DeepLab{recipe.train.variant.upper()} networks", recipe.paths.out / "deeplab", seconds, fresh
    )


def stored_size(folder: Location) -> tuple[int, int]:
    """Height and width of the dataset's images."""
    first = next(read_shards(folder))
    return first.mask.shape[0], first.mask.shape[1]


def _build(settings: TrainSection, names: list[str], seed: int) -> deeplab.DeepLab:
    first, second, third = settings.atrous_rates
    try:
        return deeplab.build(
            len(names),
            variant=settings.variant,
            encoder=settings.encoder,
            output_stride=settings.output_stride,
            encoder_depth=settings.encoder_depth,
            encoder_weights=settings.encoder_weights,
            decoder_channels=settings.decoder_channels,
            atrous_rates=(first, second, third),
            aspp_dropout=settings.aspp_dropout,
            class_names=names,
            seed=seed,
        )
    except (ValueError, OSError) as error:
        raise RecipeError(f"train: {error}") from error


def _fit(
    settings: TrainSection, model: deeplab.DeepLab, pairs: Iterable[Pair], pixels: np.ndarray, seed: int
) -> Iterator[deeplab.Step]:
    """pixels: of each class in the training masks, for the class weights; a class that has none weighs nothing."""
    weights = None
    if settings.class_weights == "inverse_sqrt":
        weights = np.where(pixels > 0, (np.maximum(pixels, 1) / pixels.sum()) ** -0.5, 0.0).tolist()
    return deeplab.fit(
        model,
        batched(pairs, settings.batch_size),
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        class_weights=weights,
        ignore_index=IGNORE,
        seed=seed,
        device=device(),
    )


def _synthetic_pairs(folder: Location, seed: int) -> Iterator[Pair]:
    return ((sample.image, sample.mask) for sample in stream(folder, seed=seed))


def _annotated_pairs(annotations: Annotations, seed: int) -> Iterator[Pair]:
    """Without end, each epoch in an order of its own."""
    rng = np.random.default_rng(seed)
    while True:
        for i in rng.permutation(len(annotations.images)):
            yield annotations.images[i], annotations.masks[i]


def batched(pairs: Iterable[Pair], size: int) -> Iterator[Pair]:
    """Stack (image, mask) pairs into batches of `size`; a rest that does not fill one is left out."""
    images, masks = [], []
    for image, mask in pairs:
        images.append(image)
        masks.append(mask)
        if len(images) == size:
            yield np.stack(images), np.stack(masks)
            images, masks = [], []

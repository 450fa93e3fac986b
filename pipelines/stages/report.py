"""Stage report: report.html, one page that needs nothing beside it, of a dataset and what was trained on it."""

import base64
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, StrictUndefined
from PIL import Image

from pipelines.dataset.manifest import Dataset, open_dataset
from pipelines.dataset.painted import painted_how
from pipelines.dataset.reports import Candidate, Report, reports
from pipelines.dataset.shards import png_bytes, read_shards
from pipelines.digests import digest_of
from pipelines.errors import DatasetError
from pipelines.files.storage import write_whole
from pipelines.folders import (
    dataset_folder,
    interpreter_folder,
    network_folder,
    quality_folder,
    report_page,
    scores_folder,
    sources,
)
from pipelines.quality.findings import Quality
from pipelines.recipe import Recipe
from pipelines.record import RECORD, Outcome, Record, Results, once
from pipelines.sharing.preview import heat
from pipelines.stages.report_quality import dataset_quality
from pipelines.stages.report_scores import figures, ious, is_scored, mean_ious
from pipelines.units.devices import device
from pipelines.units.images import image_source
from pipelines.units.models import Models

SHOWN, REJECTED_SHOWN, IN_STRIP, BINS = 24, 9, 9, 40


@dataclass(frozen=True)
class Shown:
    """A sample on the page."""

    seed: int
    uncertainty: float  # of the image, nats
    pictures: tuple[Image.Image, Image.Image, Image.Image]  # image, mask, uncertainty of the pixels


def write_page(recipe: Recipe) -> Outcome:
    """Write report.html: quality, scores, samples, rejected samples, uncertainties, times; and strip.png.

    Before anything was trained on the dataset, the page has no scores.
    """
    folder = dataset_folder(recipe)
    dataset = open_dataset(folder)
    if not dataset.interpreter:
        raise DatasetError(f"{folder} was imported; the page shows what a recipe's own models made: generate a dataset")
    template, shard_reports = files("pipelines.stages").joinpath("report.html").read_text("utf-8"), reports(folder)
    quality = dataset_quality(recipe, dataset, shard_reports)
    inputs = {
        "name": recipe.name,
        "template": digest_of({"template": template}),
        "shards": [report.sha256 for report in shard_reports],
        "filter": [dataset.recipe.get("filter"), dataset.recipe.get("portion")],
        "scores": Record.read(scores_folder(recipe)).digest if is_scored(recipe) else None,
        "quality": Record.read(quality_folder(recipe)).digest,
    }
    return once(
        report_page(recipe).parent,
        inputs,
        partial(_write, recipe, template, shard_reports, quality),
        clause="a page",
        outputs=("report.html",),
    )


def _write(recipe: Recipe, template: str, shard_reports: list[Report], quality: Quality, made: Path) -> Results:
    folder, page = dataset_folder(recipe), made / report_page(recipe).name
    dataset, models = open_dataset(folder), Models.of(recipe, device())
    candidates = [candidate for report in shard_reports for candidate in report.candidates]
    kept = sum(candidate.kept for candidate in candidates)
    first = list(islice(read_shards(folder), SHOWN))
    images = np.stack([sample.image for sample in first])
    certain = _shown(models, [sample.seed for sample in first], images)  # again, for the uncertainty of the pixels
    rejected = _rejected(recipe, models, candidates)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_url"] = _data_url
    environment.filters["picture"] = partial(_picture, quality_folder(recipe))
    html = environment.from_string(template).render(
        name=recipe.name,
        kept=kept,
        candidates=len(candidates),
        kept_for=sum(candidate.kept_for is not None for candidate in candidates),
        dataset=dataset,
        origin=_origin(dataset),
        colors=list(zip(dataset.scheme.names, dataset.scheme.colors, strict=True)),
        scores=mean_ious(recipe, kept),
        ious=ious(recipe, dataset.scheme),
        figures=[(title, map(_embedded, pngs)) for title, pngs in figures(recipe)],
        quality=quality,
        certain=certain,
        rejected=rejected,
        histogram=_histogram(candidates),
        most_uncertain=max(candidate.uncertainty for candidate in candidates),
        times=_times(recipe, shard_reports),
    )
    write_whole(page, html.encode())
    write_whole(page.with_name("strip.png"), png_bytes(_strip(certain[:IN_STRIP], rejected[:1])))
    return {}


def _origin(dataset: Dataset) -> str:
    """Where the images come from, as a clause."""
    if dataset.recipe.get("images") == "photographs":
        return f"Photographs, fit {dataset.recipe['fit']}"
    return painted_how(dataset.recipe)


def _rejected(recipe: Recipe, models: Models, candidates: list[Candidate]) -> list[Shown]:
    """The most uncertain of the dropped candidates, painted or read again by their seeds."""
    dropped = sorted((c for c in candidates if not c.kept), key=lambda c: -c.uncertainty)[:REJECTED_SHOWN]
    if not dropped:
        return []
    source, seeds = image_source(models.denoiser, recipe, dataset_folder(recipe)), [c.seed for c in dropped]
    (images,) = source.images(seeds, recipe.generate.run_seed, len(seeds))
    return _shown(models, seeds, images)


def _shown(models: Models, seeds: list[int], images: UInt8[np.ndarray, "b h w 3"]) -> list[Shown]:
    labels, scheme = models.interpreter.predict(images), models.interpreter.scheme
    masks = map(scheme.painted, labels.masks)
    heats = (heat(nats, len(scheme)) for nats in labels.pixel_uncertainty)
    pictures = zip(map(Image.fromarray, images), masks, heats, strict=True)
    return [Shown(*shown) for shown in zip(seeds, labels.uncertainty.tolist(), pictures, strict=True)]


def _data_url(image: Image.Image) -> str:
    return _embedded(png_bytes(image))


def _picture(folder: Path, name: str) -> str:
    return _embedded((folder / name).read_bytes())


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _strip(certain: list[Shown], rejected: list[Shown], scale: int = 2, gap: int = 4) -> Image.Image:
    """A column a sample: image, mask, uncertainty; rejected ones come last, behind a wider gap."""
    shown = certain + rejected
    width, height = (scale * side for side in shown[0].pictures[0].size)
    strip = Image.new("RGB", (len(shown) * (width + gap) + 4 * gap, 3 * (height + gap)), "white")
    for column, each in enumerate(shown):
        left = column * (width + gap) + (4 * gap if column >= len(certain) else 0)
        for row, picture in enumerate(each.pictures):
            enlarged = picture.convert("RGB").resize((width, height), Image.Resampling.NEAREST)
            strip.paste(enlarged, (left, row * (height + gap)))
    return strip


def _histogram(candidates: list[Candidate]) -> list[tuple[float, float]]:
    """Kept and dropped candidates by uncertainty, from 0 to the highest, as portions of the fullest bin."""
    nats, is_kept = np.array([c.uncertainty for c in candidates]), np.array([c.kept for c in candidates])
    edges = np.linspace(0, nats.max(), BINS + 1)
    kept, dropped = (np.histogram(nats[chosen], edges)[0] for chosen in (is_kept, ~is_kept))
    fullest = (kept + dropped).max()
    return list(zip((kept / fullest).tolist(), (dropped / fullest).tolist(), strict=True))


def _times(recipe: Recipe, shard_reports: list[Report]) -> list[tuple[str, str]]:
    """Seconds by stage; those of generating are summed over actors, by phase."""
    times = [("fit the interpreter", f"{Record.read(interpreter_folder(recipe)).seconds:.0f} s")]
    candidates = sum(len(report.candidates) for report in shard_reports)
    for phase in shard_reports[0].seconds:
        seconds = sum(report.seconds[phase] for report in shard_reports)
        each = f"{seconds:.0f} s, {1000 * seconds / candidates:.0f} ms an image"
        times.append((f"generate: {phase}, summed over actors", each))
    for source in sources(recipe):
        for seed in recipe.train.seeds:
            if (network_folder(recipe, source, seed) / RECORD).is_file():
                seconds = Record.read(network_folder(recipe, source, seed)).seconds
                times.append((f"train DeepLab on {source}, seed {seed}", f"{seconds:.0f} s"))
    return times

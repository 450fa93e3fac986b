"""Stage report: report.html, one file that needs nothing beside it."""

import base64
import html
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from string import Template

import numpy as np
from PIL import Image

from generate import sample
from label import Scheme
from pipelines.annotated import annotated_few
from pipelines.dataset.manifest import open_dataset
from pipelines.dataset.reports import Candidate, Report, reports
from pipelines.dataset.shards import class_pixels, read_shards
from pipelines.errors import DatasetError
from pipelines.folders import dataset_folder, interpreter_folder, network_folder, report_page, scores_folder, sources
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record
from pipelines.stages.evaluate import mean_and_deviation
from pipelines.units.devices import device
from pipelines.units.models import Models

SHOWN, REJECTED_SHOWN, BINS = 24, 9, 40
NAMES = {
    "interpreter": "Interpreter (DDPM-Seg)",
    "synthetic": "DeepLab on the synthetic images",
    "annotated": "DeepLab on the annotated images alone",
}


@dataclass(frozen=True)
class Shown:
    """One picture of the report, with its labels."""

    seed: int
    image: np.ndarray  # uint8 [h,w,3]
    mask: np.ndarray  # uint8 [h,w]
    pixel_uncertainty: np.ndarray  # nats [h,w]
    uncertainty: float


def write_report(recipe: Recipe) -> Outcome:
    """Write report.html: scores, samples, rejected samples, class shares, uncertainties, times; and strip.png."""
    folder = dataset_folder(recipe)
    if not open_dataset(folder).interpreter:
        raise DatasetError(
            f"{folder} was imported; the report shows what a recipe's own models made: generate a dataset"
        )
    template = files("pipelines.stages").joinpath("report.html").read_text("utf-8")
    inputs = {
        "name": recipe.name,
        "template": template,
        "shards": [report.sha256 for report in reports(folder)],
        "scores": Record.read(scores_folder(recipe)).digest if recipe.paths.held_out else None,
    }
    record = Record.of(report_page(recipe).parent, inputs)
    if record.found():
        return record.outcome("a report", fresh=False)
    with record.making():
        page, strip = _page(recipe, Template(template))
        report_page(recipe).write_text(page, "utf-8")
        strip.save(record.folder / "strip.png")
    return record.outcome("a report", fresh=True)


def _page(recipe: Recipe, template: Template) -> tuple[str, Image.Image]:
    folder = dataset_folder(recipe)
    dataset, made = open_dataset(folder), reports(folder)
    scheme = dataset.scheme
    models = Models.of(recipe, device())
    candidates = [c for report in made for c in report.candidates]
    kept = sum(c.kept for c in candidates)
    certain, rejected = _certain(recipe, models), _rejected(recipe, models, candidates)
    sections = [
        _section("Scores on the held-out images", _scores(recipe)),
        _section("Samples", _key(scheme) + _gallery(certain, scheme)),
        _section("Rejected: the most uncertain", _gallery(rejected, scheme)),
        _section("Class shares", _class_shares(recipe, candidates, scheme)),
        _section("Uncertainty of the candidates", _histogram(candidates)),
        _section("Where the time went", _times(recipe, made)),
    ]
    lead = f"{kept} labelled images; {len(candidates) - kept} of {len(candidates)} candidates were dropped. "
    lead += f"{dataset.recipe['solver']}, {dataset.recipe['steps']} steps; dataset {dataset.digest[:12]}."
    page = template.substitute(title=html.escape(recipe.name), lead=html.escape(lead), sections="\n".join(sections))
    return page, _strip(certain[:9], rejected[:1], scheme)


def _certain(recipe: Recipe, models: Models) -> list[Shown]:
    """The first samples of the dataset, labelled again for the uncertainty of their pixels."""
    samples = list(islice(read_shards(dataset_folder(recipe)), SHOWN))
    return _shown(models, [s.seed for s in samples], np.stack([s.image for s in samples]))


def _rejected(recipe: Recipe, models: Models, candidates: list[Candidate]) -> list[Shown]:
    """The most uncertain of the dropped candidates, painted again from their seeds."""
    dropped = sorted((c for c in candidates if not c.kept), key=lambda c: -c.uncertainty)[:REJECTED_SHOWN]
    if not dropped:
        return []
    settings, seeds = recipe.generate, [c.seed for c in dropped]
    (images,) = sample(
        models.denoiser,
        seeds,
        run_seed=settings.run_seed,
        solver=settings.solver,
        steps=settings.steps,
        batch_size=len(seeds),
    )
    return _shown(models, seeds, images)


def _shown(models: Models, seeds: list[int], images: np.ndarray) -> list[Shown]:
    labels = models.interpreter.predict(images)
    each = zip(seeds, images, labels.masks, labels.pixel_uncertainty, labels.uncertainty, strict=True)
    return [Shown(*one) for one in each]


def _section(title: str, body: str) -> str:
    return f"<h2>{title}</h2>\n{body}" if body else ""


def _scores(recipe: Recipe) -> str:
    if recipe.paths.held_out is None:
        return ""
    results = Record.read(scores_folder(recipe)).results
    rows = [(NAMES[name], mean_and_deviation([s["mean_iou"] for s in runs])) for name, runs in results.items()]
    return _table(("", "mIoU"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are text, unless they are markup already: then they begin with `<`."""

    def row(cells: Iterable[str], tag: str) -> str:
        texts = (cell if cell.startswith("<") else html.escape(cell) for cell in cells)
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _key(scheme: Scheme) -> str:
    spans = (
        f'<span><i style="background:rgb{color}"></i>{html.escape(name)}</span>'
        for name, color in zip(scheme.names, scheme.colors, strict=True)
    )
    return f'<p class="key">{"".join(spans)}</p>'


def _gallery(shown: list[Shown], scheme: Scheme) -> str:
    figures = (
        f"<figure>{_img(Image.fromarray(s.image))} {_img(scheme.painted(s.mask))} "
        f"{_img(_heat(s.pixel_uncertainty, len(scheme)))}"
        f"<figcaption>seed {s.seed}, uncertainty {s.uncertainty:.3f} nats</figcaption></figure>"
        for s in shown
    )
    return f'<div class="samples">{"".join(figures)}</div>' if shown else ""


def _heat(pixel_uncertainty: np.ndarray, classes: int) -> Image.Image:
    """Black through red to yellow; yellow is a third of the greatest possible uncertainty, ln(classes), or more."""
    level = (pixel_uncertainty / (math.log(classes) / 3)).clip(0, 1)[..., None]
    colors = np.concatenate([(2 * level).clip(0, 1), (2 * level - 1).clip(0, 1), 0 * level], axis=-1)
    return Image.fromarray((255 * colors).astype(np.uint8))


def _strip(certain: list[Shown], rejected: list[Shown], scheme: Scheme, scale: int = 2, gap: int = 4) -> Image.Image:
    """A column a sample: image, mask, uncertainty; rejected ones come last, behind a wider gap."""
    shown = certain + rejected
    height, width = (scale * side + gap for side in shown[0].mask.shape)
    strip = Image.new("RGB", (len(shown) * width + 4 * gap, 3 * height), "white")
    for column, each in enumerate(shown):
        left = column * width + (4 * gap if column >= len(certain) else 0)
        rows = Image.fromarray(each.image), scheme.painted(each.mask), _heat(each.pixel_uncertainty, len(scheme))
        for row, picture in enumerate(rows):
            size = (width - gap, height - gap)
            strip.paste(picture.convert("RGB").resize(size, Image.Resampling.NEAREST), (left, row * height))
    return strip


def _img(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _class_shares(recipe: Recipe, candidates: list[Candidate], scheme: Scheme) -> str:
    """Share of all pixels, in the kept images and in the annotated ones."""
    made = np.sum([c.class_pixels for c in candidates if c.kept], axis=0)
    first = next(read_shards(dataset_folder(recipe)))
    annotated = annotated_few(recipe, (first.mask.shape[0], first.mask.shape[1]))
    drawn = np.sum([class_pixels(mask, scheme) for mask in annotated.masks], axis=0)
    shares = [made / made.sum(), drawn / drawn.sum()]
    widest = max(share.max() for share in shares)

    def bar(share: float, color: str) -> str:
        return f'<div class="bar" style="width:{260 * share / widest:.0f}px;background:var(--{color})"></div>'

    rows = [
        (name, f"{ours:.2%}", bar(ours, "bar"), f"{theirs:.2%}", bar(theirs, "bar2"))
        for name, ours, theirs in zip(scheme.names, *shares, strict=True)
    ]
    return _table(("class", "synthetic", "", "annotated", ""), rows)


def _histogram(candidates: list[Candidate]) -> str:
    """An SVG: candidates by uncertainty, dropped ones in the second colour."""
    values = np.array([c.uncertainty for c in candidates])
    edges = np.linspace(0, values.max() * 1.001, BINS + 1)
    kept = np.array([c.kept for c in candidates])
    both = [np.histogram(values[which], edges)[0] for which in (kept, ~kept)]
    width, height, top = 700, 160, max(1, (both[0] + both[1]).max())
    step, bars = width / BINS, []
    for i, (stay, go) in enumerate(zip(*both, strict=True)):
        low, high = height * stay / top, height * go / top
        for y, h, color in ((height - low, low, "bar"), (height - low - high, high, "bar2")):
            bars.append(
                f'<rect x="{i * step:.1f}" y="{y:.1f}" width="{step - 1:.1f}" height="{h:.1f}" fill="var(--{color})"/>'
            )
    axis = "".join(
        f'<text x="{f * width:.0f}" y="{height + 16}" text-anchor="{anchor}">{f * edges[-1]:.3f}</text>'
        for f, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    caption = '<p class="soft">Image uncertainty in nats; blue is kept, orange was dropped.</p>'
    return f'<svg width="{width}" height="{height + 20}" role="img">{"".join(bars)}{axis}</svg>{caption}'


def _times(recipe: Recipe, made: list[Report]) -> str:
    """Seconds by stage; those of generating are summed over actors, by phase."""
    rows = [("fit the interpreter", f"{Record.read(interpreter_folder(recipe)).seconds:.0f} s")]
    candidates = sum(len(report.candidates) for report in made)
    for phase in made[0].seconds:
        seconds = sum(report.seconds[phase] for report in made)
        rows.append(
            (
                f"generate: {phase}, summed over actors",
                f"{seconds:.0f} s, {1000 * seconds / candidates:.0f} ms an image",
            )
        )
    for source in sources(recipe):
        for seed in recipe.train.seeds:
            seconds = Record.read(network_folder(recipe, source, seed)).seconds
            rows.append((f"train DeepLab on {source}, seed {seed}", f"{seconds:.0f} s"))
    return _table(("stage", "time"), rows)

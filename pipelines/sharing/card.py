"""The page that a dataset is given away with: README.md as the Hub reads it, a strip of samples, and croissant.json."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from generate.identity import HUB_ID
from pipelines.dataset.inventory import INDEX
from pipelines.dataset.painted import painted_how
from pipelines.dataset.shards import png_bytes
from pipelines.files.storage import Location, read, write_whole
from pipelines.sharing.croissant import CROISSANT, Described, croissant
from pipelines.sharing.facts import Facts
from pipelines.sharing.licences import Licence
from pipelines.sharing.markdown import head, table
from pipelines.sharing.preview import Choice, chosen_samples, sheet

README, STRIP = "README.md", "strip.png"
_IN_STRIP, _RARE = 9, 0.005  # samples; a share of the pixels
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "1M<n<10M"
_PAINTED = (
    "A diffusion model painted these images and an ensemble of classifiers labelled them; nobody drew or checked them."
)
_IMPORTED = (
    "A published synthetic set, turned into shards: models made its images and masks; nobody drew or checked them."
)
_SCORED = {
    "interpreter": "the interpreter, which labelled this dataset",
    "synthetic": "DeepLab trained on synthetic images",
    "annotated": "DeepLab trained on the annotated images alone",
}
_READING = """\
Shards are plain tars in the layout of WebDataset. A sample is `<seed>.png`, `<seed>.mask.png` (class ids, 255 is
ignored) and `<seed>.json`{maps}.
`index.parquet` has a row for each candidate, dropped ones included.

```python
from datasets import load_dataset

samples = load_dataset("webdataset", data_files="shard-*.tar", split="train", streaming=True)
```
"""


@dataclass(frozen=True)
class Words:
    """What only a person can say."""

    title: str
    licence: Licence
    authors: Sequence[str] = ()
    origin: str | None = None  # of the diffusion model


def write_card(folder: Location, words: Words, facts: Facts) -> None:
    """Write the card's three files into the dataset's folder, the page last."""
    samples = list(chosen_samples(folder, Choice(_IN_STRIP)))
    write_whole(folder / STRIP, png_bytes(sheet(samples, facts.dataset.scheme, columns=3, captions=False)))
    description = f"{facts.kept} synthetic images with masks of {len(facts.dataset.names)} classes. {_origin(facts)}"
    licence = words.licence.link or words.licence.name
    described = Described(words.title, description, licence, words.authors, facts.has_maps)
    index_sha256 = hashlib.sha256(read(folder / INDEX)).hexdigest()
    write_whole(folder / CROISSANT, croissant(described, facts.shards, index_sha256))
    write_whole(folder / README, page(words, facts).encode())


def page(words: Words, facts: Facts) -> str:
    """README.md: its head is YAML that the Hub reads, the rest is for people."""
    shown = "image, mask, uncertainty" if facts.has_maps else "image, mask"
    maps = ", with `<seed>.uncertainty.png` (255 * uncertainty / ln(classes))" if facts.has_maps else ""
    parts = [
        f"# {words.title}\n\n**Synthetic.** {_origin(facts)}\n\n![Samples: {shown}]({STRIP})\n",
        f"## What is in it\n\n{table(('', ''), _content(facts))}",
        f"## Classes\n\n{table(('id', 'name', 'colour', 'share of the pixels', 'images'), _classes(facts))}",
        f"## How it was made\n\n{table(('', ''), _making(words, facts))}",
        f"## Scores\n\n{_scores(facts)}",
        f"## How it is read\n\n{_READING.replace('{maps}', maps)}",
        "## Known limits\n\n" + "".join(f"- {limit}\n" for limit in _limits(facts)),
        f"## Licence\n\n{_licence(words)}",
    ]
    return _head(words, facts) + "\n" + "\n".join(parts)


def _origin(facts: Facts) -> str:
    return _PAINTED if facts.dataset.denoiser else _IMPORTED


def _head(words: Words, facts: Facts) -> str:
    held = facts.index.num_rows if facts.dataset.keeps_all else facts.kept
    return head(
        {
            **words.licence.fields,
            "pretty_name": words.title,
            "task_categories": ["image-segmentation"],
            "task_ids": ["semantic-segmentation"],
            "annotations_creators": ["machine-generated"],
            "size_categories": [next((name for most, name in _SIZES if held < most), _LARGEST)],
            "tags": ["synthetic", "webdataset", "datasetddpm"],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "shard-*.tar"}]}],
        }
    )


def _content(facts: Facts) -> Iterator[tuple[str, object]]:
    height, width = facts.size
    dropped = facts.index.num_rows - facts.kept
    yield "samples", f"{facts.kept:,}"
    if facts.dataset.keeps_all:
        yield "dropped by the filter, but in the shards", f"{dropped:,}; `kept` in index.parquet says which"
    else:
        yield "dropped by the filter, not in the shards", f"{dropped:,}"
    yield "images", f"{width}x{height} pixels, RGB, PNG"
    yield "shards", f"{len(facts.shards)}, {sum(shard.bytes for shard in facts.shards):,} bytes"
    yield "uncertainty of each pixel", "stored" if facts.has_maps else "not stored"
    yield "authors of the labels", "none: they are predictions"


def _classes(facts: Facts) -> Iterator[tuple[object, ...]]:
    names, colors, shares = facts.dataset.names, facts.dataset.colors, _shares(facts)
    images = (facts.class_pixels > 0).sum(axis=0)
    for number, (name, color, share, seen) in enumerate(zip(names, colors, shares, images.tolist(), strict=True)):
        yield number, name, "#{:02x}{:02x}{:02x}".format(*color), f"{share:.2%}", f"{seen:,}"


def _shares(facts: Facts) -> list[float]:
    pixels = facts.class_pixels.sum(axis=0)
    return (pixels / max(1, pixels.sum())).tolist()


def _painting(painter: dict[str, Any] | None) -> Iterator[tuple[str, object]]:
    """Of a model that painted what another read."""
    if painter is None:
        return
    yield "what painted the images", f"another model, sha256 `{painter['digest']}`"
    if painter["kind"] == "latent":
        yield "safety checker", "none: nothing was kept from being painted"
    for number, prompt in enumerate(painter.get("prompts", ()), 1):
        yield f"prompt {number}", prompt


def _making(words: Words, facts: Facts) -> Iterator[tuple[str, object]]:
    dataset, features = facts.dataset, facts.features or {}
    settings, source = dataset.recipe, (features.get("source") or {}).get("path", "")
    if dataset.denoiser:
        known = f"`{source}`, " if HUB_ID.fullmatch(source) else ""
        yield "diffusion model", f"{known}sha256 `{dataset.denoiser}`"
        yield "what it was trained on", words.origin or "not said"
        yield from _painting(settings.get("painter"))
        yield "solver", f"{painted_how(settings)}, run seed {settings['run_seed']}"
        yield "interpreter", f"sha256 `{dataset.interpreter}`"
    if features.get("kinds") not in (None, ["denoiser"]):
        yield "what it reads", ", ".join(features["kinds"])
    elif features:
        steps, blocks = (", ".join(map(str, features[key])) for key in ("steps", "blocks"))
        yield "what it reads", f"decoder blocks {blocks} at diffusion steps {steps}"
    if facts.annotated is not None:
        yield "annotated images that it was fitted on", facts.annotated
    if portion := settings.get("portion"):
        way = "" if settings.get("filter", "most_certain") == "most_certain" else f", filter {settings['filter']}"
        yield "filter", f"dropped the most uncertain {portion:.0%} of each {settings['unit_size']}{way}"
    else:
        yield "filter", "none"
    yield "dataset", f"sha256 `{dataset.digest}`"
    yield "made with", ", ".join(f"{package} {version}" for package, version in dataset.versions.items())


def _scores(facts: Facts) -> str:
    if not facts.scores:
        return "Nothing was measured on held-out images.\n"
    rows = [(_SCORED.get(source, source), f"{score:.3f}") for source, score in facts.scores.items()]
    return table(("on held-out annotated images", "mIoU"), rows)


def _limits(facts: Facts) -> Iterator[str]:
    yield "The masks are predictions. Where the ensemble is wrong and agrees, nothing in the dataset says so."
    yield "What the diffusion model was trained on decides what is painted: what is rare or absent there is so here."
    yield "Images may resemble those that the diffusion model was trained on; that was not measured."
    shares = zip(facts.dataset.names, _shares(facts), strict=True)
    if rare := [name for name, share in shares if share < _RARE]:
        yield f"These classes are less than {_RARE:.1%} of the pixels: {', '.join(rare)}."
    if facts.dataset.recipe.get("portion"):
        yield "The filter dropped the most uncertain images, which are often the unusual ones."
    nats = facts.index["uncertainty"].to_numpy()[facts.index["kept"].to_numpy()]
    yield f"Uncertainty, {nats.min():.3f} to {nats.max():.3f} nats an image, ranks images; it is no rate of errors."


def _licence(words: Words) -> str:
    by = f" by {', '.join(words.authors)}" if words.authors else ""
    origin = f": {words.origin.rstrip('.')}" if words.origin else ", which are not said here"
    return (
        f"Given away{by} under {words.licence.sentence}. The licences of what the diffusion model was trained on may "
        f"bind this dataset, too{origin}.\n"
    )

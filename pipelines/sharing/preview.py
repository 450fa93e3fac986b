"""A contact sheet of a dataset: image, mask and uncertainty of a few samples, with their seeds and the classes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw, ImageFont

from label import Scheme
from pipelines.dataset.index import candidates
from pipelines.dataset.inventory import take_inventory
from pipelines.dataset.manifest import Dataset, open_dataset
from pipelines.dataset.shards import Sample, checked_shards, decode, png_bytes, records
from pipelines.dataset.where import rows_where
from pipelines.errors import DatasetError
from pipelines.files.storage import Location, write_whole
from pipelines.files.writable import must_be_writable

MOST = 400  # samples of a sheet
PICTURE, GAP, LINE = 128, 4, 14  # pixels: the longer side of a picture, between two, of a line of text
_INK, _SMALL = (40, 40, 40), 11


@dataclass(frozen=True)
class Choice:
    """Which samples are shown: those of `seeds`, else `count` of those that `where` names, evenly over them."""

    count: int = 24
    where: str | None = None
    seeds: tuple[int, ...] = ()


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read "3,17,40-43". Raises DatasetError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not (first.isdecimal() and (last.isdecimal() if dash else not last)) or int(last or first) < int(first):
            raise DatasetError(f"--seeds {text} cannot be read at {part.strip()!r}; write seeds as 3,17,40-43")
        if len(seeds) + int(last or first) - int(first) >= MOST:
            raise DatasetError(f"--seeds {text} names too many samples; a sheet holds {MOST}")
        seeds += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(seeds))


def write_preview(folder: Location, out: Path, choice: Choice) -> int:
    """Write the sheet of a dataset's samples as a PNG; how many it shows.

    Raises DatasetError where the folder holds none of those that are asked for, StorageError where `out` is refused.
    """
    samples, scheme = list(chosen_samples(folder, choice)), open_dataset(folder).scheme
    must_be_writable(out.parent)
    write_whole(out, png_bytes(sheet(samples, scheme)))
    return len(samples)


def chosen_samples(folder: Location, choice: Choice) -> Iterator[Sample]:
    """Read the chosen samples, in the order of seeds; only shards that hold some of them are opened."""
    dataset, inventory = open_dataset(folder), take_inventory(folder)
    paths = {path.name: path for path in checked_shards(inventory)}
    table = candidates(inventory)
    rows = table.take(pa.array(_chosen_rows(table, dataset, choice)))
    wanted: dict[str, set[int]] = {}
    for shard, seed in zip(rows["shard"].to_pylist(), rows["seed"].to_pylist(), strict=True):
        wanted.setdefault(shard, set()).add(seed)
    for shard, seeds in wanted.items():
        yield from (decode(record) for record in records([paths[shard]]) if int(record["__key__"]) in seeds)


def _chosen_rows(table: pa.Table, dataset: Dataset, choice: Choice) -> Int[np.ndarray, " chosen"]:
    kept = table["kept"].to_numpy()
    held = np.ones_like(kept) if dataset.keeps_all else kept
    if choice.seeds:
        return _rows_of(choice.seeds, table["seed"].to_numpy(), held)
    if choice.where is None:
        rows = np.flatnonzero(kept)
    else:
        named = rows_where(choice.where, table, dataset.names)
        rows = np.flatnonzero(named & (held if "kept" in choice.where else kept))
    if not len(rows):
        condition = f" for which {choice.where}" if choice.where else ""
        raise DatasetError(f"the dataset holds no kept sample{condition}; there is nothing to show")
    return rows[np.linspace(0, len(rows) - 1, min(choice.count, len(rows))).round().astype(int)]


def _rows_of(
    seeds: Sequence[int], known: Int[np.ndarray, " rows"], held: Bool[np.ndarray, " rows"]
) -> Int[np.ndarray, " chosen"]:
    places = {seed: row for row, seed in enumerate(known.tolist())}
    if strange := [seed for seed in seeds if seed not in places]:
        raise DatasetError(
            f"the dataset has no seed {strange[0]}; its {len(known)} candidates are {known.min()} to {known.max()}"
        )
    if dropped := [seed for seed in seeds if not held[places[seed]]]:
        raise DatasetError(f"the filter dropped seed {dropped[0]}, and no shard holds it; name one that was kept")
    return np.array(sorted(places[seed] for seed in seeds))


def sheet(
    samples: Sequence[Sample], scheme: Scheme, *, columns: int | None = None, captions: bool = True
) -> Image.Image:
    """Cells of image, mask and, where a sample has it, uncertainty, side by side; below them the classes."""
    cells = [_cell(sample, scheme, captions=captions) for sample in samples]
    width, height = (max(sizes) for sizes in zip(*(cell.size for cell in cells), strict=True))
    across = columns or max(1, min(len(cells), round(math.sqrt(len(cells) * height / width * 1.5))))
    down = -(-len(cells) // across)
    names = _legend(scheme, across * (width + 2 * GAP))
    whole = Image.new("RGB", (names.width, down * (height + 2 * GAP) + names.height), "white")
    for place, cell in enumerate(cells):
        row, column = divmod(place, across)
        whole.paste(cell, (column * (width + 2 * GAP) + GAP, row * (height + 2 * GAP) + GAP))
    whole.paste(names, (0, whole.height - names.height))
    return whole


def heat(nats: Float[np.ndarray, "h w"], classes: int) -> Image.Image:
    """Black through red to yellow; yellow is a third of the greatest possible uncertainty, ln(classes), or more."""
    level = (nats / (math.log(classes) / 3)).clip(0, 1)[..., None]
    colors = np.concatenate([(2 * level).clip(0, 1), (2 * level - 1).clip(0, 1), 0 * level], axis=-1)
    return Image.fromarray((255 * colors).astype(np.uint8))


def _cell(sample: Sample, scheme: Scheme, *, captions: bool) -> Image.Image:
    pictures = [Image.fromarray(sample.image), scheme.painted(sample.mask)]
    if sample.pixel_uncertainty is not None:
        pictures.append(heat(sample.pixel_uncertainty, len(scheme)))
    shown = [_at_size(picture) for picture in pictures]
    caption = LINE * captions
    cell = Image.new("RGB", (sum(p.width + GAP for p in shown) - GAP, shown[0].height + caption), "white")
    for place, picture in enumerate(shown):
        cell.paste(picture.convert("RGB"), (place * (picture.width + GAP), 0))
    if captions:
        text = f"{sample.seed} · {sample.uncertainty:.3f} nats"
        ImageDraw.Draw(cell).text((0, shown[0].height + 1), text, _INK, ImageFont.load_default(_SMALL))
    return cell


def _at_size(picture: Image.Image) -> Image.Image:
    """Small pictures enlarged by a whole number, pixel by pixel; large ones made smaller."""
    longer = max(picture.size)
    if longer > PICTURE:
        way = Image.Resampling.NEAREST if picture.mode == "P" else Image.Resampling.BOX  # no colour between two classes
        return picture.resize(_scaled(picture, PICTURE / longer), way)
    return picture.resize(_scaled(picture, PICTURE // longer), Image.Resampling.NEAREST)


def _scaled(picture: Image.Image, scale: float) -> tuple[int, int]:
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def _legend(scheme: Scheme, width: int) -> Image.Image:
    """The classes with their colours, in as many lines as they need."""
    font, left, line, places = ImageFont.load_default(_SMALL), GAP, 0, []
    for name in scheme.names:
        needed = LINE + int(font.getlength(name)) + 3 * GAP
        if left > GAP and left + needed > width:
            left, line = GAP, line + 1
        places.append((left, line * (LINE + GAP) + GAP))
        left += needed
    legend = Image.new("RGB", (width, (line + 1) * (LINE + GAP) + GAP), "white")
    draw = ImageDraw.Draw(legend)
    for (x, y), name, color in zip(places, scheme.names, scheme.colors, strict=True):
        draw.rectangle((x, y + 1, x + LINE - 3, y + LINE - 2), fill=color, outline=_INK)
        draw.text((x + LINE, y), name, _INK, font)
    return legend

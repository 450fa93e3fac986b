"""Segment any image with an interpreter: one in Python, or files and folders of them for the command."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from generate import ImageError, read_image, to_rgb
from generate.pictures import image_paths
from label import FITS, Fit, Interpreter, Scheme
from pipelines.dataset.shards import class_pixels, grey_levels, png_bytes
from pipelines.files.storage import write_whole
from pipelines.files.writable import must_be_writable
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome
from pipelines.units.devices import device
from pipelines.units.models import open_interpreter

Pixels = UInt8[np.ndarray, "h w 3"]
Ids = UInt8[np.ndarray, "h w"]  # of classes


@dataclass(frozen=True)
class Segmentation:
    """What an interpreter says of one image, all pictures at that image's size."""

    mask: Image.Image  # mode P: class ids, with the classes' colours
    overlay: Image.Image  # mode RGB: half the image, half its mask
    pixel_uncertainty: Image.Image  # mode L: 255 * uncertainty / ln(classes), as in shards
    uncertainty: float  # of the image, nats: mean of its highest tenth
    shares: dict[str, float]  # of the pixels, by class name; they add up to 1


@dataclass(frozen=True)
class Results:
    """What is written of one image that was segmented."""

    pictures: dict[str, Image.Image]  # for <stem>.<name>.png
    numbers: dict[str, Any]  # for <stem>.json


def segment(image: Image.Image | np.ndarray, interpreter: Interpreter, *, fit: Fit = "stretch") -> Segmentation:
    """Label an image of any size: one of Pillow's in any mode, or uint8 [h,w,3].

    One of Pillow's is turned as its EXIF orientation says, and so are the results. `fit` says how the image comes to
    the interpreter's size: stretched; padded, which keeps proportions; or in tiles, which keeps the scale as well.
    Raises ValueError for another fit, ImageError for an image that cannot be used.
    """
    if fit not in FITS:
        raise ValueError(f"fit {fit!r} is not known; known are {', '.join(FITS)}")
    pixels = to_rgb(image) if isinstance(image, Image.Image) else image
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ImageError(f"the image is {pixels.dtype} {list(pixels.shape)}; uint8 [height, width, 3] is needed")
    labels, scheme = FITS[fit](pixels, interpreter), interpreter.scheme
    mask = scheme.painted(labels.masks[0])
    return Segmentation(
        mask=mask,
        overlay=overlay(pixels, mask),
        pixel_uncertainty=Image.fromarray(grey_levels(labels.pixel_uncertainty[0], scheme)),
        uncertainty=float(labels.uncertainty[0]),
        shares=class_shares(labels.masks[0], scheme),
    )


def overlay(pixels: Pixels, mask: Image.Image) -> Image.Image:
    """Half the image, half its mask in the classes' colours."""
    return Image.blend(Image.fromarray(pixels), mask.convert("RGB"), 0.5)


def class_shares(ids: Ids, scheme: Scheme) -> dict[str, float]:
    """Of the pixels, by class name."""
    return {name: count / ids.size for name, count in zip(scheme.names, class_pixels(ids, scheme), strict=True)}


def segment_files(recipe: Recipe, inputs: Sequence[Path], out: Path, fit: Fit) -> Outcome:
    """Write <stem>.mask.png, .overlay.png, .uncertainty.png and, last, .json of every image of `inputs` into `out`.

    A broken image becomes a failure of the outcome, the others are done. Raises ImageError, before any work, for a
    folder without images, and where `out` is the folder of an image: masks that lie there may be drawn by hand.
    """
    stems = stems_to_write(inputs, out)
    interpreter = open_interpreter(recipe, device())

    def segmented(pixels: Pixels) -> Results:
        labelled = segment(pixels, interpreter, fit=fit)
        pictures = {"mask": labelled.mask, "overlay": labelled.overlay, "uncertainty": labelled.pixel_uncertainty}
        return Results(pictures, {"uncertainty": labelled.uncertainty, "shares": labelled.shares})

    return write_each(stems, out, segmented, {"fit": fit, "interpreter": interpreter.digest})


def stems_to_write(inputs: Sequence[Path], out: Path) -> dict[Path, str]:
    """Every image with its results' stem. Raises ImageError where `out` holds one of them, and may hold its mask."""
    stems = unique_stems(image_files(inputs))
    beside = next((path for path in stems if path.parent.resolve() == out.resolve()), None)
    if beside:
        raise ImageError(f"{out} holds {beside.name} itself; name another folder, so that no file there is overwritten")
    return stems


def write_each(
    stems: dict[Path, str], out: Path, segmented: Callable[[Pixels], Results], source: dict[str, str]
) -> Outcome:
    """Segment one image after the other and write its results; `source`, in its .json, says by what it was done."""
    start = time.perf_counter()
    must_be_writable(out)
    written = (_write(path, out / stem, segmented, source) for path, stem in stems.items())
    failures = [failure for failure in follow(written, len(stems), "segment", "images") if failure]
    clause = f"masks of {len(stems) - len(failures)} images"
    return Outcome(clause, out, time.perf_counter() - start, fresh=True, failures=failures)


def _write(path: Path, target: Path, segmented: Callable[[Pixels], Results], source: dict[str, str]) -> str | None:
    """What is wrong with the image, or None."""
    try:
        pixels = read_image(path)
    except ImageError as error:
        return str(error)
    results = segmented(pixels)
    for name, picture in results.pictures.items():
        write_whole(target.with_name(f"{target.name}.{name}.png"), png_bytes(picture))
    record = {"image": str(path), "size": [pixels.shape[1], pixels.shape[0]], **source, **results.numbers}
    content = json.dumps(record, indent=2, allow_nan=False) + "\n"
    write_whole(target.with_name(f"{target.name}.json"), content.encode())
    return None


def image_files(inputs: Sequence[Path]) -> list[Path]:
    """The named files, and all images below the named folders but masks and earlier results; each file once."""
    images: dict[Path, Path] = {}  # by where they really lie
    for path in inputs:
        files = [path]
        if path.is_dir():
            files = image_paths(path)
        for file in files:
            images.setdefault(file.resolve(), file)
    return list(images.values())


def unique_stems(paths: Sequence[Path]) -> dict[Path, str]:
    """Every path's stem; where several are alike (in lower case), the later ones are numbered: face, face-2."""
    own = {path.stem.lower() for path in paths}
    stems: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        stem, number = path.stem, 1
        while stem.lower() in taken or (number > 1 and stem.lower() in own):
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.lower())
        stems[path] = stem
    return stems

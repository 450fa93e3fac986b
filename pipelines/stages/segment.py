"""Segment any image with an interpreter: one in Python, or files and folders of them for the command."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from generate import IMAGE_SUFFIXES, ImageError, read_image, to_rgb
from label import FITS, Fit, Interpreter
from pipelines.dataset.shards import class_pixels, grey_levels
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome
from pipelines.units.devices import device
from pipelines.units.models import Models

_RESULTS = (".mask.png", ".overlay.png", ".uncertainty.png", ".json")


@dataclass(frozen=True)
class Segmentation:
    """What an interpreter says of one image, all pictures at that image's size."""

    mask: Image.Image  # mode P: class ids, with the classes' colours
    overlay: Image.Image  # mode RGB: half the image, half its mask
    pixel_uncertainty: Image.Image  # mode L: 255 * uncertainty / ln(classes), as in shards
    uncertainty: float  # of the image, nats: mean of its highest tenth
    shares: dict[str, float]  # of the pixels, by class name; they add up to 1


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
    counts = class_pixels(labels.masks[0], scheme)
    return Segmentation(
        mask=mask,
        overlay=Image.blend(Image.fromarray(pixels), mask.convert("RGB"), 0.5),
        pixel_uncertainty=Image.fromarray(grey_levels(labels.pixel_uncertainty[0], scheme)),
        uncertainty=float(labels.uncertainty[0]),
        shares={name: count / mask.width / mask.height for name, count in zip(scheme.names, counts, strict=True)},
    )


def segment_files(recipe: Recipe, inputs: Sequence[Path], out: Path, fit: Fit) -> Outcome:
    """Write <stem>.mask.png, .overlay.png, .uncertainty.png and, last, .json of every image of `inputs` into `out`.

    A broken image becomes a failure of the outcome, the others are done. Raises ImageError, before any work, for a
    folder without images, and where `out` is the folder of an image: masks that lie there may be drawn by hand.
    """
    start = time.perf_counter()
    stems = unique_stems(image_files(inputs))
    beside = next((path for path in stems if path.parent.resolve() == out.resolve()), None)
    if beside:
        raise ImageError(f"{out} holds {beside.name} itself; name another folder, so that no file there is overwritten")
    models = Models.of(recipe, device())
    out.mkdir(parents=True, exist_ok=True)
    done = _each(stems, models.interpreter, out, fit)
    failures = [failure for failure in follow(done, len(stems), "segment", "images") if failure]
    made = f"masks of {len(stems) - len(failures)} images"
    return Outcome(made, out, time.perf_counter() - start, fresh=True, failures=failures)


def _each(stems: dict[Path, str], interpreter: Interpreter, out: Path, fit: Fit) -> Iterator[str | None]:
    """Segment and write one image after the other; yield what was wrong with it, or None."""
    about = {"fit": fit, "interpreter": interpreter.digest}
    for path, stem in stems.items():
        try:
            image = read_image(path)
        except ImageError as error:
            yield str(error)
            continue
        found = segment(image, interpreter, fit=fit)
        record = {"image": str(path), "size": list(found.mask.size), "uncertainty": found.uncertainty} | about
        record |= {"shares": found.shares}
        mask, overlay, doubt, report = (out / f"{stem}{result}" for result in _RESULTS)
        found.mask.save(mask)
        found.overlay.save(overlay)
        found.pixel_uncertainty.save(doubt)
        report.write_text(json.dumps(record, indent=2) + "\n")
        yield None


def image_files(inputs: Sequence[Path]) -> list[Path]:
    """The named files, and all images below the named folders but masks and earlier results; each file once."""
    found: dict[Path, Path] = {}
    for path in inputs:
        files = [path]
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not _is_result(p))
            if not files:
                raise ImageError(f"{path} holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _is_result(path: Path) -> bool:
    return path.name.lower().endswith(_RESULTS)


def unique_stems(paths: Sequence[Path]) -> dict[Path, str]:
    """Every path's stem; where several are alike (in lower case), the later ones are numbered: face, face-2."""
    own = {path.stem.lower() for path in paths}
    stems: dict[Path, str] = {}
    given: set[str] = set()
    for path in paths:
        stem, number = path.stem, 1
        while stem.lower() in given or (number > 1 and stem.lower() in own):
            number += 1
            stem = f"{path.stem}-{number}"
        given.add(stem.lower())
        stems[path] = stem
    return stems

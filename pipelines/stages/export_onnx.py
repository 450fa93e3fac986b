"""A trained network as an ONNX file, and images segmented with such a file."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import deeplab
from deeplab import ExportError, OnnxModel, export_onnx
from generate import ImageError, read_image
from label import Scheme
from pipelines.dataset.shards import class_pixels, stored_size
from pipelines.folders import dataset_folder, network_folder
from pipelines.progress import follow
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record
from pipelines.stages.segment import image_files, unique_stems

_RESULTS = (".mask.png", ".overlay.png", ".json")


def export_model(recipe: Recipe, path: Path) -> Outcome:
    """Write the recipe's network, of the first seed, trained on the synthetic images; any number of images at once."""
    start, seed = time.perf_counter(), recipe.train.seeds[0]
    folder = network_folder(recipe, "synthetic", seed)
    Record.read(folder)  # only a finished training is exported
    model = deeplab.load(folder)
    if not path.parent.is_dir():
        raise ExportError(f"{path.parent} is no folder; make it first, or name another file")
    if path.is_dir():
        raise ExportError(f"{path} is a folder; name a file")
    difference = export_onnx(model, path, stored_size(dataset_folder(recipe)))
    what = f"an ONNX file of {folder.name}, whose logits differ from torch's by {difference:.1g},"
    return Outcome(what, path, time.perf_counter() - start, fresh=True)


def segment_with_model(path: Path, inputs: Sequence[Path], out: Path) -> Outcome:
    """Write <stem>.mask.png, .overlay.png and, last, .json of every image, stretched to the network's size and back.

    A broken image becomes a failure of the outcome, the others are done. Raises ExportError for a file that is no
    exported network, ImageError where `out` is the folder of an image.
    """
    start, model = time.perf_counter(), OnnxModel.open(path)
    stems = unique_stems(image_files(inputs))
    beside = next((image for image in stems if image.parent.resolve() == out.resolve()), None)
    if beside:
        raise ImageError(f"{out} holds {beside.name} itself; name another folder, so that no file there is overwritten")
    out.mkdir(parents=True, exist_ok=True)
    done = _each(stems, model, Scheme(model.class_names), path, out)
    failures = [failure for failure in follow(done, len(stems), "segment", "images") if failure]
    made = f"masks of {len(stems) - len(failures)} images"
    return Outcome(made, out, time.perf_counter() - start, fresh=True, failures=failures)


def _each(stems: dict[Path, str], model: OnnxModel, scheme: Scheme, path: Path, out: Path) -> Iterator[str | None]:
    """Segment and write one image after the other; yield what was wrong with it, or None."""
    height, width = model.size
    for image, stem in stems.items():
        try:
            pixels = Image.fromarray(read_image(image))
        except ImageError as error:
            yield str(error)
            continue
        seen = np.asarray(pixels.resize((width, height), Image.Resampling.BILINEAR))
        found = Image.fromarray(model.predict(seen[None])[0]).resize(pixels.size, Image.Resampling.NEAREST)
        mask = scheme.painted(np.asarray(found))
        counts = class_pixels(np.asarray(found), scheme)
        shares = {name: count / found.width / found.height for name, count in zip(scheme.names, counts, strict=True)}
        record = {"image": str(image), "size": list(found.size), "model": str(path), "shares": shares}
        painted, overlay, report = (out / f"{stem}{result}" for result in _RESULTS)
        mask.save(painted)
        Image.blend(pixels, mask.convert("RGB"), 0.5).save(overlay)
        report.write_text(json.dumps(record, indent=2) + "\n")
        yield None

"""A trained network as an ONNX file, and images segmented with such a file."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import deeplab
from deeplab import ExportError, OnnxModel, export_onnx
from label import Scheme
from pipelines.dataset.shards import stored_size
from pipelines.files.storage import writing
from pipelines.files.writable import must_be_writable
from pipelines.folders import dataset_folder, network_folder
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record
from pipelines.stages.segment import Pixels, Results, class_shares, overlay, stems_to_write, write_each


def export_model(recipe: Recipe, path: Path) -> Outcome:
    """Write the recipe's network, of the first seed, for any number of images at once; not that of the baseline."""
    start, seed = time.perf_counter(), recipe.train.seeds[0]
    folder = network_folder(recipe, "mixed" if recipe.train.mix else "synthetic", seed)
    Record.read(folder)  # only a finished training is exported
    model = deeplab.load(folder)
    if not path.parent.is_dir():
        raise ExportError(f"{path.parent} is no folder; make it first, or name another file")
    if path.is_dir():
        raise ExportError(f"{path} is a folder; name a file")
    must_be_writable(path.parent)
    with writing(path) as temporary:
        difference = export_onnx(model, temporary, stored_size(dataset_folder(recipe)))
    clause = f"an ONNX file of {folder.name}, whose logits differ from torch's by {difference:.1g},"
    return Outcome(clause, path, time.perf_counter() - start, fresh=True)


def segment_with_model(path: Path, inputs: Sequence[Path], out: Path) -> Outcome:
    """Write <stem>.mask.png, .overlay.png and, last, .json of every image, stretched to the network's size and back.

    A broken image becomes a failure of the outcome, the others are done. Raises ExportError for a file that is no
    exported network, ImageError where `out` is the folder of an image.
    """
    stems, model = stems_to_write(inputs, out), OnnxModel.open(path)
    return write_each(stems, out, lambda pixels: _segment(pixels, model), {"model": str(path)})


def _segment(pixels: Pixels, model: OnnxModel) -> Results:
    image, (height, width), scheme = Image.fromarray(pixels), model.size, Scheme(model.class_names)
    seen = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    ids = Image.fromarray(model.predict(seen[None])[0]).resize(image.size, Image.Resampling.NEAREST)
    mask = scheme.painted(np.asarray(ids))
    return Results({"mask": mask, "overlay": overlay(pixels, mask)}, {"shares": class_shares(np.asarray(ids), scheme)})

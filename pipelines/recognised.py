"""Annotations of other tools, known by the names and keys of their files, and the command that takes them in."""

import json
import shlex
from pathlib import Path

_JSON = 50  # files of a folder that are looked into


def to_be_imported(place: Path) -> str:
    """What another tool's annotations in the place are, with the command that makes masks of them; "" for none."""
    if not (format_name := recognised(place)):
        return ""
    out = place.with_name(f"{place.stem if place.is_file() else place.name}-masks")
    line = shlex.join(["datasetddpm", "import", format_name, str(place), "--out", str(out)])
    return f"{place} holds annotations in the format {format_name}; run `{line}`, and name {out} in its place"


def recognised(place: Path) -> str:
    """The FORMAT of `datasetddpm import` that a file or folder is in; "" where that is not certain."""
    if place.is_file():
        return _of_file(place)
    if not place.is_dir():
        return ""
    names = {path.name for path in place.iterdir()}
    if "SegmentationClass" in names:
        return "cvat-masks" if "labelmap.txt" in names else "voc"
    if {"img_dir", "ann_dir"} <= names:
        return "voc"
    if {"data.yaml", "labels"} <= names:
        return "yolo"
    if {"state.json", "dataset_dict.json"} & names or any(name.endswith(".parquet") for name in names):
        return "huggingface"
    files = sorted([*place.glob("*.json"), *place.glob("annotations/*.json"), *place.glob("*.xml")])[:_JSON]
    found = {kind for path in files if (kind := _of_file(path))}
    return found.pop() if len(found) == 1 else ""


def _of_file(path: Path) -> str:
    if path.suffix.lower() == ".xml":
        return "cvat" if "<annotations" in path.read_text("utf-8", errors="replace")[:200] else ""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    first = content[0] if isinstance(content, list) and content else content
    keys = set(first) if isinstance(first, dict) else set()
    if isinstance(content, list):
        return "label-studio" if {"data", "annotations"} <= keys else ""
    return "labelme" if {"shapes", "imagePath"} <= keys else "coco" if {"images", "annotations"} <= keys else ""

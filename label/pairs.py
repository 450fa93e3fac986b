"""Which mask belongs to which image of an annotated folder, by their names alone."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from generate import IMAGE_SUFFIXES
from label.errors import AnnotationError

_MARKS = (".mask", "_mask")  # what follows the image's stem in the name of a mask


@dataclass(frozen=True)
class Pairs:
    """The files of an annotated folder, in the order of their names."""

    annotated: list[tuple[Path, Path]]  # image and mask
    unmasked: list[Path]  # images without a mask
    mistakes: list[str]  # a clause for each file that fits nowhere


def find_pairs(folder: Path) -> Pairs:
    """Pair the files of a folder. Raises AnnotationError where there is no folder, or no image in it."""
    if not folder.is_dir():
        raise AnnotationError(no_folder(folder))
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    images, masks = _sorted_out([p for p in paths if p.suffix.lower() in (*IMAGE_SUFFIXES, ".npy")])
    if not images:
        raise AnnotationError(f"{folder} holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    mistakes = [
        f"{mask.name} has no image; expected {stem}.png" for stem in masks.keys() - images for mask in masks[stem]
    ]
    annotated = []
    for stem in images.keys() & masks:
        if len(masks[stem]) > 1:
            mistakes.append(f"{_both(masks[stem])} are both masks of {images[stem][0].name}; remove one")
        elif len(images[stem]) > 1:
            mistakes.append(
                f"{_both(images[stem])} would share {masks[stem][0].name}; remove one, or rename it and give it a mask"
            )
        else:
            annotated.append((images[stem][0], masks[stem][0]))
    unmasked = [image for stem in images.keys() - masks for image in images[stem]]
    return Pairs(sorted(annotated), sorted(unmasked), sorted(mistakes))


def no_folder(folder: Path) -> str:
    """What is wrong with a place where an annotated folder should be."""
    missing = "is no folder" if folder.exists() else "does not exist"
    return f"{folder} {missing}; annotated images are needed there"


def has_mask(image: Path) -> bool:
    """Whether a mask of one of the known names lies beside the image."""
    names = (f"{image.stem}{mark}{suffix}" for mark in _MARKS for suffix in IMAGE_SUFFIXES)
    return image.with_suffix(".npy").exists() or any(image.with_name(name).exists() for name in names)


def drawings(paths: Iterable[Path]) -> str:
    """Of .json files, which hold the drawings of other tools, as a clause; empty where none does."""
    found = {path.name: tool for path in sorted(paths) if (tool := _tool(path))}
    if not found:
        return ""
    name, tool = next(iter(found.items()))
    more = f" and {len(found) - 1} more files hold" if len(found) > 1 else " holds"
    return f"; {name}{more} drawings of {tool}, of which `datasetddpm import` makes masks"


def _sorted_out(paths: list[Path]) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Images and masks, by the stem of the image."""
    pictures = {p.stem for p in paths if p.suffix.lower() != ".npy"}
    masked = {_unmarked(stem) for stem in pictures} | {p.stem for p in paths if p.suffix.lower() == ".npy"}
    images, masks = defaultdict(list), defaultdict(list)
    for path in paths:
        if path.suffix.lower() == ".npy":
            masks[path.stem if path.stem in pictures else _unmarked(path.stem) or path.stem].append(path)
        elif (stem := _unmarked(path.stem)) and not (path.stem.lower().endswith("_mask") and path.stem in masked):
            masks[stem].append(path)
        else:  # face_mask.png as well, if it has a mask of its own
            images[path.stem].append(path)
    return dict(images), dict(masks)


def _unmarked(stem: str) -> str:
    """The stem of the image that a mask's name tells; empty for a name that is no mask's."""
    return next((stem[: -len(mark)] for mark in _MARKS if stem.lower().endswith(mark)), "")


def _both(paths: list[Path]) -> str:
    return " and ".join(path.name for path in paths)


def _tool(path: Path) -> str | None:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    keys = content if isinstance(content, dict) else {}
    return "LabelMe" if "shapes" in keys else "COCO" if "annotations" in keys else None

"""One black and white mask for each class of an image: CLASS/NAME.png, or NAME_CLASS.png."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from generate import ImageError
from label import AnnotationError
from pipelines.formats.drawing import Drawn, Pixels, Shape
from pipelines.formats.files import IMAGES, MASKS, Source
from pipelines.formats.palettes import stored_mask
from pipelines.formats.picture import Contents, Picture, images_below, open_file


def read_binary(source: Source) -> Contents:
    """A folder for each class, in masks/ or beside images/; or masks/ with the classes behind the images' names.

    Where masks overlap, the class that comes later wins: in the scheme, or in the order of names.
    """
    images = source.images or source.one_of(IMAGES, "images; or --images names it")
    stems: defaultdict[str, list[Path]] = defaultdict(list)
    for path in images_below(images):
        stems[path.relative_to(images).with_suffix("").as_posix()].append(path)
    masks, mistakes = _masks(source, images, list(stems))
    names = sorted({label for labelled in masks.values() for label in labelled})
    order = [*(source.scheme.names if source.scheme else ()), *names]
    mistakes += [
        f"{' and '.join(path.name for path in stems[s])} would share their masks" for s in masks if len(stems[s]) > 1
    ]
    pictures = [
        Picture(
            f"the masks of {stems[stem][0].name}",
            stems[stem][0].relative_to(images).as_posix(),
            partial(open_file, stems[stem][0]),
            partial(_drawn, {label: labelled[label] for label in sorted(labelled, key=order.index)}),
        )
        for stem, labelled in sorted(masks.items())
    ]
    return Contents(pictures, names, mistakes=mistakes, notes=list(_notes(stems, masks)))


def _masks(source: Source, images: Path, stems: list[str]) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """The masks of each image's stem by class, and what fits to no image."""
    home = next((source.folder / name for name in MASKS if (source.folder / name).is_dir()), source.folder)
    folders = sorted(path for path in home.iterdir() if path.is_dir() and path != images and path.name[0] != ".")
    found: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    mistakes = []
    for label, stem, path in _by_folder(folders) if folders else _by_name(home, stems):
        if stem not in stems:
            mistakes.append(f"{source.name(path)} has no image in {images}")
        elif label in found[stem]:
            mistakes.append(f"{source.name(path)} and {found[stem][label].name} are both masks of {label}")
        else:
            found[stem][label] = path
    if not found and not mistakes:
        raise AnnotationError(f"{home} holds no masks; CLASS/NAME.png or NAME_CLASS.png are looked for")
    return dict(found), mistakes


def _by_folder(folders: list[Path]) -> Iterator[tuple[str, str, Path]]:
    for folder in folders:
        for path in images_below(folder):
            yield folder.name, path.relative_to(folder).with_suffix("").as_posix(), path


def _by_name(home: Path, stems: list[str]) -> Iterator[tuple[str, str, Path]]:
    """The longest stem that the mask's name begins with is its image's."""
    for path in images_below(home):
        name = path.relative_to(home).with_suffix("").as_posix()
        fitting = [stem for stem in stems if name.startswith((f"{stem}_", f"{stem}.", f"{stem}-"))]
        stem = max(fitting, key=len, default="")
        yield name[len(stem) + 1 :], stem, path


def _notes(stems: dict[str, list[Path]], masks: dict[str, dict[str, Path]]) -> Iterator[str]:
    if rest := [paths[0].name for stem, paths in stems.items() if stem not in masks]:
        yield f"images without a mask are left out: {len(rest)}, {rest[0]} first"


def _drawn(masks: dict[str, Path]) -> Drawn:
    pixels = {label: _binary(path) for label, path in masks.items()}
    sizes = {mask.shape for mask in pixels.values()}
    if len(sizes) > 1:
        raise AnnotationError("are of several sizes")
    shapes = [Shape(label, lambda _h, _w, mask=mask: mask) for label, mask in pixels.items()]
    height, width = next(iter(sizes))
    return Drawn(shapes, (height, width))


def _binary(path: Path) -> Pixels:
    """What is not black, and not transparent. Raises ImageError for more than two values."""
    mask = stored_mask(path)
    shown = {value: color[3] > 0 and any(color[:3]) for value, color in mask.colors.items()}
    if not mask.colors:
        shown = {int(value): bool(value) for value in np.unique(mask.values)}
    if len(shown) > 2 or list(shown.values()).count(True) > 1:
        raise ImageError(f"{path.name} has {len(shown)} values; a mask of one class is black and one other value")
    return np.isin(mask.values, [value for value, is_in in shown.items() if is_in])

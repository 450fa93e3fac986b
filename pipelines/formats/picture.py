"""An image that somebody annotated: where its file lies, its pixels upright, its name in the annotated folder."""

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from generate import IMAGE_SUFFIXES, to_rgb
from generate.images import open_image
from label import AnnotationError
from pipelines.formats.drawing import Drawn

_ORIENTATION = ExifTags.Base.Orientation


@dataclass(frozen=True)
class Opened:
    """Upright pixels, and how the stored ones are turned to be so."""

    pixels: UInt8[np.ndarray, "h w 3"]
    orientation: int = 1  # of EXIF; 1 is upright

    def turned(self, mask: np.ndarray) -> np.ndarray:
        """A mask that was drawn on the pixels as they are stored, upright."""
        image = Image.fromarray(mask)
        image.getexif()[_ORIENTATION] = self.orientation
        return np.asarray(ImageOps.exif_transpose(image))


@dataclass(frozen=True)
class Picture:
    """One image with its drawing; both are opened when they are needed, and raise their mistakes then."""

    file: str  # of the annotation: what a mistake names
    image_name: str  # the image's path or name in the source
    image: Callable[[], Opened]
    drawn: Callable[[], Drawn]


@dataclass(frozen=True)
class Contents:
    """All that a source holds, as far as it is known without opening an image."""

    pictures: Sequence[Picture]
    classes: Sequence[str]  # in the order that the format gives them, or that of their names
    colors: Sequence[tuple[int, int, int]] = ()  # of the classes, where the format has some
    mistakes: Sequence[str] = ()  # a clause each
    notes: Sequence[str] = ()  # what is to be told of what is left out


def open_file(path: Path) -> Opened:
    """Raises ImageError for a file that is damaged or no image."""
    with open_image(path) as image:
        return opened(image)


def open_bytes(content: bytes) -> Opened:
    """Raises AnnotationError for bytes that are no image."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return opened(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise AnnotationError("holds an image that cannot be read") from error


def opened(image: Image.Image) -> Opened:
    return Opened(to_rgb(image), image.getexif().get(_ORIENTATION, 1))


def images_below(folder: Path) -> list[Path]:
    """All images in the folder and its folders, in the order of their names; nothing hidden."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


class Places:
    """Where the image of a given name lies: at its path below one of the folders, or else anywhere below them.

    Names of other tools are often of another machine: a URL, a Windows path, a path in a container.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
        self._below: dict[str, list[Path]] | None = None

    def find(self, name: str) -> Path:
        """Raises AnnotationError where there is none, or more than one that may be meant."""
        plain = PureWindowsPath(name).as_posix()
        for folder in self._folders:
            if plain and _is_file(path := folder / plain):
                return path
        if self._below is None:
            self._below = defaultdict(list)
            for path in dict.fromkeys(path for folder in self._folders for path in images_below(folder)):
                self._below[path.name].append(path)
        found = self._below.get(PurePosixPath(plain).name, [])
        if len(found) > 1:
            raise AnnotationError(f"names the image {name}, and there are {len(found)} of that name")
        if not found:
            where = ", ".join(map(str, self._folders)) or "the source"
            raise AnnotationError(f"names the image {name}, which is not in {where}; --images names its folder")
        return found[0]


def _is_file(path: Path) -> bool:
    """A name of another machine may be too long for this one."""
    try:
        return path.is_file()
    except OSError:
        return False


def by_stem(images: Path, masks: Path, *, suffix: str = "") -> tuple[list[tuple[Path, Path]], list[str], list[str]]:
    """Masks with the images of their stem, from two folders of the same structure; mistakes; names of other images."""
    known: defaultdict[str, list[Path]] = defaultdict(list)
    for path in images_below(images):
        if not path.is_relative_to(masks) or masks == images:
            known[_stem(path, images)].append(path)
    pairs, mistakes, used = [], [], set[str]()
    for mask in images_below(masks):
        stem = _stem(mask, masks).removesuffix(suffix)
        found = known.get(stem, [])
        if len(found) == 1:
            pairs.append((found[0], mask))
            used.add(stem)
        elif found:
            several = " and ".join(path.name for path in found)
            mistakes.append(f"{mask.name} may be the mask of {several}; remove one of them")
        else:
            mistakes.append(f"{mask.name} has no image in {images}; expected {stem}.png or .jpg")
    return pairs, mistakes, [path.name for stem, paths in known.items() if stem not in used for path in paths]


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def output_names(pictures: Sequence[Picture]) -> list[str]:
    """The stems in the annotated folder: those of the images, longer where two would be the same.

    First the folder is put before it, then the ending behind it, then a number. What would be read as the name of a
    mask, or as a hidden file, is changed.
    """
    paths = [PurePosixPath(PureWindowsPath(picture.image_name).as_posix()) for picture in pictures]
    longer = [
        [path.stem for path in paths],
        ["-".join(part for part in (*path.parts[:-1], path.stem) if part not in ("/", "..", ".")) for path in paths],
        [f"{path.stem}-{path.suffix.removeprefix('.')}" for path in paths],
    ]
    candidates = [[_plain(name) for name in names] for names in longer]
    chosen = candidates[0]
    for names in candidates[1:]:
        taken = Counter(name.casefold() for name in chosen)
        chosen = [new if taken[old.casefold()] > 1 else old for old, new in zip(chosen, names, strict=True)]
    return _numbered(chosen)


def _numbered(names: list[str]) -> list[str]:
    """The same, but for those that are there already."""
    known, given = {name.casefold() for name in names}, set[str]()
    for place, name in enumerate(names):
        more = (f"{name}-{number}" for number in count(1))
        free = (new for new in more if new.casefold() not in known | given)
        names[place] = name if name.casefold() not in given else next(free)
        given.add(names[place].casefold())
    return names


def _plain(name: str) -> str:
    """A stem that is an image's, whatever it was."""
    name = name.lstrip(".") or "image"
    for mark in (".mask", "_mask"):
        if name.lower().endswith(mark):
            name = f"{name[: -len(mark)]}-mask"
    return name

"""The folder that is annotated: images listed, masks read and written in the form that `fit` reads."""

import io
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from generate import read_image
from label import IGNORE, AnnotationError, Scheme
from label.masks import class_ids, greys_are_colors, read_mask
from label.pairs import Pairs, find_pairs
from pipelines.annotator.strokes import Annotation, encoded, is_done, origin_file, with_origins
from pipelines.errors import InputError
from pipelines.files.storage import remove, write_whole


class ConflictError(InputError):
    """Somebody else has changed the mask meanwhile."""


class UnknownImageError(InputError):
    """No image of the folder has this name."""


@dataclass(frozen=True)
class Listed:
    """An image as the sheet shows it."""

    name: str  # of its file
    state: str  # untouched, begun or done


class AnnotatedFolder:
    """One folder, for any number of threads. An image is called by the name of its file."""

    def __init__(self, path: Path, scheme: Scheme, *, ignore: int = IGNORE) -> None:
        """`ignore` is the value of masks that stands for 255."""
        self.path, self._scheme, self._ignore = path, scheme, ignore
        self._lock = threading.RLock()
        self._files: dict[str, tuple[Path, Path]] = {}
        self.mistakes: list[str] = []
        self.refresh()
        self._greys_are_colors = scheme.has_own_colors and self._greys_are_colors_here()

    @property
    def scheme(self) -> Scheme:
        return self._scheme

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def refresh(self) -> None:
        """Look again which images are there."""
        with self._lock:
            pairs = _pairs(self.path)
            stems = Counter(image.stem for image in pairs.unmasked)
            twice = sorted({image.stem for image in pairs.unmasked if stems[image.stem] > 1})
            self.mistakes = pairs.mistakes + [f"several images are called {stem}; rename them" for stem in twice]
            unmasked = [(i, i.with_name(f"{i.stem}.mask.png")) for i in pairs.unmasked if stems[i.stem] == 1]
            self._files = {image.name: (image, mask) for image, mask in sorted([*pairs.annotated, *unmasked])}

    def listed(self) -> list[Listed]:
        self.refresh()
        with self._lock:
            return [Listed(name, self._state(image, mask)) for name, (image, mask) in self._files.items()]

    def state(self, name: str) -> str:
        return self._state(*self._places(name))

    def image(self, name: str) -> UInt8[np.ndarray, "h w 3"]:
        """Raises ImageError for a file that is damaged."""
        return read_image(self._places(name)[0])

    def read(self, name: str) -> Annotation:
        """What is annotated of an image. Raises AnnotationError for a mask that does not fit its image or scheme."""
        image, mask = self._places(name)
        with self._lock:
            size = _size(image)
            if not mask.exists():
                return Annotation.empty(size)
            ids = class_ids(read_mask(mask), self._scheme, greys_are_colors=self._greys_are_colors)
            ids = np.where(ids == self._ignore, IGNORE, ids).astype(np.int64)
            self._check(mask.name, ids, size)
            return with_origins(ids.astype(np.uint8), origin_file(image))

    def save(self, name: str, annotation: Annotation, *, based_on: str) -> None:
        """Write it, unless the mask is another than `based_on` names: then ConflictError, and nothing is written."""
        image, mask = self._places(name)
        with self._lock:
            if self.read(name).revision != based_on:
                raise ConflictError(
                    f"{name} was changed in another tab or by another program; take that, or keep what is here"
                )
            self._check(mask.name, annotation.mask.astype(np.int64), _size(image))
            self._write(image, mask, annotation)

    def set_done(self, name: str, done: bool) -> None:
        with self._lock:
            self._write(*self._places(name), replace(self.read(name), done=done))

    def add(self, filename: str, image: UInt8[np.ndarray, "h w 3"]) -> str:
        """Write another image, under a name that is free. Raises InputError for a name that is none."""
        stem = Path(filename).stem.strip()
        if stem in ("", ".", "..") or stem.startswith(".") or {"/", "\\", "\0"} & set(filename):
            raise InputError(f"{filename!r} is no name for an image; a plain name such as 0007.png is needed")
        with self._lock:
            taken = {path.stem.lower() for path in self.path.iterdir()}
            stem = stem.removesuffix(".mask").removesuffix("_mask")  # or it would be a mask's name
            free = next(n for n in _numbered(stem) if n.lower() not in taken)
            content = io.BytesIO()
            Image.fromarray(image).save(content, "png")
            write_whole(self.path / f"{free}.png", content.getvalue())
            self.refresh()
        return f"{free}.png"

    def change_classes(self, scheme: Scheme) -> None:
        """Write scheme.toml and show the masks in its colours; ids stay, so that a class may not vanish."""
        if len(scheme) < len(self._scheme):
            raise InputError("a class is missing; ids of masks would change, so that classes are only added or renamed")
        with self._lock:
            painted = {image: self.read(image) for image in self._painted()} if self._recolours(scheme) else {}
            self._scheme = scheme
            write_whole(self.path / "scheme.toml", scheme.to_toml().encode())
            for name, annotation in painted.items():
                self._write(*self._places(name), annotation)

    def _places(self, name: str) -> tuple[Path, Path]:
        if name not in self._files:
            raise UnknownImageError(f"{name} is no image of {self.path}")
        return self._files[name]

    def _state(self, image: Path, mask: Path) -> str:
        if not mask.exists():
            return "done" if is_done(origin_file(image)) else "untouched"
        return "done" if is_done(origin_file(image)) else "begun"

    def _recolours(self, scheme: Scheme) -> bool:
        return scheme.colors[: len(self._scheme)] != self._scheme.colors

    def _painted(self) -> Iterator[str]:
        """Images whose masks are pictures, and so have colours."""
        return (name for name, (_, mask) in self._files.items() if mask.exists() and mask.suffix != ".npy")

    def _write(self, image: Path, mask: Path, annotation: Annotation) -> None:
        """The mask first: what a crash leaves is a mask of drawn pixels."""
        if annotation.is_empty:
            remove(mask)
            remove(origin_file(image))
            return
        if mask.suffix.lower() not in (".png", ".npy"):
            png = image.with_name(f"{image.stem}.mask.png")
            write_whole(png, self._encoded(png, annotation.mask))
            mask.rename(mask.with_name(f".{mask.name}"))  # readers pass hidden files by
            self._files[image.name] = (image, png)
        else:
            write_whole(mask, self._encoded(mask, annotation.mask))
        origin_file(image).parent.mkdir(exist_ok=True)
        write_whole(origin_file(image), encoded(annotation))

    def _encoded(self, path: Path, mask: UInt8[np.ndarray, "h w"]) -> bytes:
        content = io.BytesIO()
        if path.suffix.lower() == ".npy":
            np.save(content, mask)
        else:
            self._scheme.painted(mask).save(content, "png")
        return content.getvalue()

    def _check(self, mask: str, ids: np.ndarray, size: tuple[int, int]) -> None:
        if ids.shape != size:
            raise AnnotationError(f"{mask} is {ids.shape[1]}x{ids.shape[0]}, its image {size[1]}x{size[0]}")
        outside = sorted(set(np.unique(ids).tolist()) - {*range(len(self._scheme)), IGNORE})
        if outside:
            raise AnnotationError(f"{mask} has class {outside[0]}; the classes are 0 to {len(self._scheme) - 1}")

    def _greys_are_colors_here(self) -> bool:
        masks = [mask for _, mask in self._files.values() if mask.exists()]
        return greys_are_colors([read_mask(mask) for mask in masks], self._scheme)


def _pairs(folder: Path) -> Pairs:
    try:
        return find_pairs(folder)
    except AnnotationError:  # there is no image yet
        return Pairs([], [], [])


def _size(image: Path) -> tuple[int, int]:
    """Height and width as it is shown."""
    height, width, _ = read_image(image).shape
    return height, width


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1

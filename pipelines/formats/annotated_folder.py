"""What came in becomes a folder that `fit` reads: NAME.png, NAME.mask.png, scheme.toml; whole, or not at all."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from generate import ImageError
from label import IGNORE, AnnotationError, Scheme
from pipelines.dataset.shards import png_bytes
from pipelines.errors import DatasetError
from pipelines.files.storage import write_whole
from pipelines.files.writable import must_be_writable
from pipelines.formats.drawing import Painted, paint, sides
from pipelines.formats.picture import Contents, Opened, Picture, output_names
from pipelines.progress import follow

SCHEME = "scheme.toml"
BACKGROUND, IGNORED = "background", "ignore"  # what unlabelled pixels are, where nobody names a class
_SHOWN = 20  # mistakes that a message lists


@dataclass(frozen=True)
class Written:
    """What lies in the folder, and what there is to say of it."""

    images: int
    scheme: Scheme
    notes: list[str]


def write_annotated(contents: Contents, source: str, out: Path, scheme: Scheme | None, unlabelled: str) -> Written:
    """Paint all pictures into `out`; unlabelled pixels are of the class of that name, or 255 for "ignore".

    Without a scheme the classes are those of the source that have pixels. Raises AnnotationError with all mistakes.
    """
    ids = _ids(contents, scheme, unlabelled, source)
    fill = IGNORE if unlabelled == IGNORED else ids[_class_of(unlabelled, ids) or unlabelled]
    mistakes, overlapping, pixels = list(contents.mistakes), [], Counter[int]()
    with _part_of(out) as part:
        names = output_names(contents.pictures)
        pairs = zip(names, contents.pictures, strict=True)
        for name, picture in follow(pairs, len(names), "import", "images"):
            try:
                image, painted = _painted(picture, ids, fill)
            except AnnotationError as error:
                mistakes.append(f"{picture.file} {error}")
            except ImageError as error:
                mistakes.append(str(error))
            else:
                overlapping += [picture.file] if painted.overlapping else []
                values, counts = np.unique(painted.mask, return_counts=True)
                pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
                if not mistakes:
                    write_whole(part / f"{name}.png", png_bytes(Image.fromarray(image.pixels)))
                    write_whole(part / f"{name}.mask.png", png_bytes(Image.fromarray(painted.mask)))
        _refuse(source, mistakes, len(names))
        final = scheme or _seen(ids, contents, pixels, source)
        _recolor(part, names, ids, final)
        write_whole(part / SCHEME, final.to_toml().encode())
    left_out = [name for name in ids if name not in final.names]
    return Written(len(names), final, [*contents.notes, *_notes(overlapping, left_out)])


def _class_of(name: str, known: Sequence[str] | dict[str, int]) -> str | None:
    """The class of that name, as it is written there: other tools say Background, or _background_."""
    return next((other for other in known if other.strip("_").casefold() == name.strip("_").casefold()), None)


def _ids(contents: Contents, scheme: Scheme | None, unlabelled: str, source: str) -> dict[str, int]:
    """Class ids by name, before classes without pixels are left out."""
    names = list(scheme.names if scheme else dict.fromkeys(contents.classes))
    if unlabelled != IGNORED and not _class_of(unlabelled, names):
        if scheme or unlabelled != BACKGROUND:
            raise AnnotationError(
                f"{source}: unlabelled pixels are {unlabelled}, which is none of the classes {', '.join(names)}; "
                "--unlabelled takes one of them, or ignore"
            )
        names = [BACKGROUND, *names]
    if len(names) > IGNORE:
        raise AnnotationError(f"{source}: {len(names)} classes; at most {IGNORE} are possible ({IGNORE} is 'ignore')")
    return {name: number for number, name in enumerate(names)}


def _painted(picture: Picture, ids: dict[str, int], fill: int) -> tuple[Opened, Painted]:
    image, drawn = picture.image(), picture.drawn()
    high, wide = image.pixels.shape[:2]
    upright, stored = (high, wide), (wide, high)
    lying = image.orientation >= 5 and drawn.size == stored != upright
    if drawn.size not in (None, upright) and not lying:
        raise AnnotationError(f"is of {sides(drawn.size or ())}, its image {picture.image_name} of {sides(upright)}")
    painted = paint(drawn, ids, stored if lying else upright, unlabelled=fill)
    return image, Painted(image.turned(painted.mask), painted.overlapping) if lying else painted


def _refuse(source: str, mistakes: list[str], images: int) -> None:
    if mistakes:
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise AnnotationError(f"{source}: {'; '.join(mistakes[:_SHOWN])}{more}; nothing is written")
    if not images:
        raise AnnotationError(f"{source}: no image there has an annotation")


def _seen(ids: dict[str, int], contents: Contents, pixels: Counter[int], source: str) -> Scheme:
    """The scheme of the classes that have pixels."""
    names = [name for name, number in ids.items() if pixels[number]]
    if len(names) < 2:
        said = f"all labelled pixels are {names[0]}" if names else "no pixel is labelled"
        raise AnnotationError(
            f"{source}: {said}, and two classes are the least; --unlabelled says what the other pixels are"
        )
    colors = dict(zip(contents.classes, contents.colors, strict=False))
    own = [colors.get(name, (0, 0, 0)) for name in names]
    return Scheme(tuple(names), tuple(own) if colors and len(set(own)) == len(own) else ())


def _recolor(part: Path, names: list[str], ids: dict[str, int], scheme: Scheme) -> None:
    """Give the masks the ids of the final scheme, and its palette."""
    table = np.full(IGNORE + 1, IGNORE, dtype=np.uint8)
    for name, number in ids.items():
        if name in scheme.names:
            table[number] = scheme.names.index(name)
    for name in names:
        path = part / f"{name}.mask.png"
        with Image.open(path) as image:
            mask = table[np.asarray(image)]
        write_whole(path, png_bytes(scheme.painted(mask)))


def _notes(overlapping: list[str], left_out: list[str]) -> Iterator[str]:
    if overlapping:
        more = f" and {len(overlapping) - 1} more" if len(overlapping) > 1 else ""
        yield f"shapes of several classes overlap in {overlapping[0]}{more}; the later one wins"
    if left_out:
        yield f"classes without a pixel are left out: {', '.join(left_out)}; --scheme keeps them"


@contextmanager
def _part_of(out: Path) -> Iterator[Path]:
    """A hidden folder beside that becomes `out` when the block ends well, and is gone otherwise."""
    if out.exists() and (not out.is_dir() or any(path.name != SCHEME for path in out.iterdir())):
        raise DatasetError(f"{out} holds something already; name a folder that is not there yet")
    must_be_writable(out.parent)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        if out.is_dir():
            (out / SCHEME).unlink(missing_ok=True)
            out.rmdir()
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)

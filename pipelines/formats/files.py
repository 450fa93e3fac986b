"""Where annotations lie, and how a file of them is read: what it must hold is said by a model of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from label import AnnotationError, Scheme
from pipelines.errors import DatasetError

T = TypeVar("T")
IMAGES = ("images", "JPEGImages", "img_dir", "imgs", "image")
MASKS = ("masks", "SegmentationClass", "ann_dir", "annotations", "labels", "mask")


@dataclass(frozen=True)
class Source:
    """A place with annotations, as it was named, and what was said of it besides."""

    place: str  # a path; of datasets, also an id of the Hub
    images: Path | None = None  # where the images lie, if not there
    scheme: Scheme | None = None
    options: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> Path:
        """Raises AnnotationError where nothing is."""
        path = Path(self.place)
        if not path.exists():
            raise AnnotationError(f"{path} does not exist; annotations are needed there")
        if path.suffix.lower() == ".zip":
            raise AnnotationError(f"{path} is packed; unpack it, and name the folder or the file in it")
        return path

    @property
    def folder(self) -> Path:
        """The place, or where it lies."""
        return self.path if self.path.is_dir() else self.path.parent

    def option(self, name: str, default: str = "") -> str:
        return dict(self.options).get(name, default)

    @property
    def image_folders(self) -> list[Path]:
        """Where images are looked for, in this order."""
        return [self.images] if self.images else [self.folder, *(self.folder / name for name in IMAGES)]

    def name(self, path: Path) -> str:
        """A file of the source as a message names it."""
        return path.relative_to(self.folder).as_posix()

    def files(self, ending: str) -> list[Path]:
        """The file itself, or all files of that ending in the folder. Raises AnnotationError where there are none."""
        if self.path.is_file():
            return [self.path]
        paths = sorted(path for path in self.path.rglob(f"*.{ending}") if not path.name.startswith("."))
        if not paths:
            raise AnnotationError(f"{self.path} holds no .{ending} files; annotations are needed there")
        return paths

    def only_file(self, ending: str) -> Path:
        """The file itself, or the only one of that ending in the folder or one below it."""
        if self.path.is_file():
            return self.path
        found = sorted([*self.path.glob(f"*.{ending}"), *self.path.glob(f"*/*.{ending}")])
        if len(found) == 1:
            return found[0]
        if not found:
            raise AnnotationError(f"{self.path} holds no .{ending} file; annotations are needed there")
        names = ", ".join(self.name(path) for path in found[:5])
        raise AnnotationError(f"{self.path} holds {len(found)} .{ending} files; name one of them: {names}")

    def one_of(self, names: Sequence[str], what: str) -> Path:
        """The folder in it that has one of these names. Raises AnnotationError where there is none."""
        for name in names:
            if (self.folder / name).is_dir():
                return self.folder / name
        raise AnnotationError(f"{self.folder} has no folder of {what}; {', '.join(names)} is looked for")


def read_model(path: Path, kind: Any, what: str) -> Any:
    """A JSON file as a pydantic model, or a list of them. Raises AnnotationError with the first place that is wrong."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        raise AnnotationError(f"is not {what}: {first_mistake(error)}") from error
    except OSError as error:
        raise AnnotationError(f"cannot be read: {error.strerror}") from error


def first_mistake(error: ValidationError) -> str:
    """Where, and what, in one clause."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def library(module: str, extra: str, what: str) -> ModuleType:
    """A module of an optional package. Raises DatasetError with the line that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise DatasetError(f"{what} needs a package more; run `pip install 'datasetddpm[{extra}]'`") from error

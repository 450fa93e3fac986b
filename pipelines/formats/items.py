"""What a writer of a format is given: samples one by one, what is known of the dataset, and where its files go."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from label import IGNORE, Scheme
from pipelines.dataset.shards import pixels, png_bytes
from pipelines.errors import DatasetError

Piece = dict[str, Any]  # what a writer remembers of a shard until all are done, as JSON holds it


@dataclass(frozen=True)
class About:
    """What a writer knows of the whole export; it crosses processes."""

    scheme: Scheme
    splits: tuple[str, ...]
    folder_name: str  # of the finished export
    instances: bool = False
    left_out: tuple[int, ...] = ()  # classes whose pixels are exported as ignored


@dataclass(frozen=True)
class Item:
    """A sample on its way out."""

    record: Mapping[str, Any]  # as the shard holds it, still compressed
    split: str
    name: str  # of its files, without a dot
    left_out: tuple[int, ...] = ()

    @cached_property
    def description(self) -> dict[str, Any]:
        return json.loads(self.record["json"])

    @property
    def seed(self) -> int:
        return self.description["seed"]

    @property
    def uncertainty(self) -> float:
        """Of the image, in nats."""
        return self.description["uncertainty"]

    @property
    def png(self) -> bytes:
        """The image's file."""
        return self.record["png"]

    @cached_property
    def image(self) -> UInt8[np.ndarray, "h w 3"]:
        return pixels(self.png, 3)

    @cached_property
    def mask(self) -> UInt8[np.ndarray, "h w"]:
        mask = pixels(self.record["mask.png"], 1)
        if self.left_out:
            mask = np.where(np.isin(mask, self.left_out), np.uint8(IGNORE), mask)
        return mask

    @property
    def mask_png(self) -> bytes:
        """The mask's file: class ids in grey."""
        return png_bytes(Image.fromarray(self.mask)) if self.left_out else self.record["mask.png"]

    @property
    def classes(self) -> list[int]:
        """Those that some pixel has."""
        return [int(value) for value in np.unique(self.mask) if value != IGNORE]


@dataclass
class Target:
    """The folder of an export, and what one shard has written there."""

    folder: Path
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of every file by its name in the folder

    def write(self, name: str, content: bytes | str) -> None:
        """The same shard writes the same files again when it is done again."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = content.encode() if isinstance(content, str) else content
        path.write_bytes(whole)
        self.sizes[name] = len(whole)

    def is_whole(self) -> bool:
        """Whether all of it lies there as long as it was written."""
        paths = ((self.folder / name, size) for name, size in self.sizes.items())
        return all(path.is_file() and path.stat().st_size == size for path, size in paths)


@dataclass(frozen=True)
class Pieces:
    """What the writer remembered of each shard, in the order of units; read again at each iteration, one at a time."""

    paths: tuple[Path, ...]

    def __iter__(self) -> Iterator[Piece]:
        return (json.loads(path.read_bytes())["piece"] for path in self.paths)


def hex_of(color: tuple[int, int, int]) -> str:
    """As web pages write it."""
    return "#" + "".join(f"{channel:02x}" for channel in color)


def palette_png(mask: UInt8[np.ndarray, "h w"], scheme: Scheme) -> bytes:
    """A mask of class ids whose palette shows the classes' colours."""
    return png_bytes(scheme.painted(mask))


def lines_of(pieces: Pieces, key: str) -> str:
    """The lists that the pieces have under this key, a line an entry."""
    text = io.StringIO()
    for piece in pieces:
        text.writelines(f"{line}\n" for line in piece.get(key, ()))
    return text.getvalue()


def refuse_names(about: About, is_held: Callable[[str], bool], why: str) -> None:
    """Raises DatasetError for a class whose name the format's list of names cannot hold."""
    for name in about.scheme.names:
        if not is_held(name):
            raise DatasetError(
                f"the class {name!r} cannot be named in this format, where {why}; name another --format, or a scheme "
                "with another name for it"
            )

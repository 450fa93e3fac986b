"""The published synthetic sets, `samples_256x256x3.npz`: read row by row, so that a file of any size fits.

arr_0 images uint8 [N, H, W, 3], arr_1 labels uint8 [N, H, W] (255 = ignore), then uncertainty [N]; sets made by a GAN
hold latents [N, ...] before the uncertainty.
"""

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from pipelines.errors import DatasetError

_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError),
    *(UnicodeDecodeError, OverflowError, struct.error, IndexError),
)


@dataclass(frozen=True)
class Member:
    """An array of the file, as its header and the zip's directory describe it."""

    name: str  # "arr_0"
    shape: tuple[int, ...]
    dtype: np.dtype
    crc: int

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def identity(self) -> list[Any]:
        return [self.name, list(self.shape), self.dtype.str, self.crc]


@dataclass(frozen=True)
class Npz:
    """A file whose headers have been checked."""

    path: Path
    images: Member
    labels: Member
    uncertainty: Member
    members: tuple[Member, ...]  # all, in order

    @property
    def rows(self) -> int:
        return self.images.shape[0]

    @property
    def identity(self) -> list[list[Any]]:
        """What names the content; no row is read for it: the directory holds a CRC-32 of every array."""
        return [member.identity for member in self.members]

    def blocks(self, member: Member, ranges: list[range]) -> Iterator[np.ndarray]:
        """Yield the rows of each range, which ascend. Raises DatasetError where the content is damaged."""
        with _refusing_damage(self.path), zipfile.ZipFile(self.path) as file, file.open(f"{member.name}.npy") as stream:
            _header(stream)
            start = stream.tell()
            for rows in ranges:
                stream.seek(start + rows.start * member.row_bytes)
                content = stream.read(len(rows) * member.row_bytes)
                if len(content) < len(rows) * member.row_bytes:
                    raise EOFError(f"{member.name} ends before row {rows.stop - 1}")
                yield np.frombuffer(content, member.dtype).reshape(len(rows), *member.shape[1:])

    def all_uncertainty(self) -> Float[np.ndarray, " n"]:
        """Uncertainty of all rows, in its own dtype. Raises DatasetError for a row without a finite one."""
        (values,) = self.blocks(self.uncertainty, [range(self.rows)])
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise DatasetError(
                f"{self.path}: the uncertainty of row {wrong[0]} is {values[wrong[0]]}; every row needs a finite one"
            )
        return values


def open_npz(path: Path) -> Npz:
    """Read the headers. Raises DatasetError for anything but a published synthetic set; nothing is unpickled."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing; name an npz file of images, labels and uncertainty")
    with _refusing_damage(path), zipfile.ZipFile(path) as file:
        names = sorted(file.namelist())
        if names not in ([f"arr_{i}.npy" for i in range(count)] for count in (3, 4)):
            raise DatasetError(
                f"{path} holds {', '.join(names) or 'nothing'}; a synthetic set holds arr_0 to arr_2 "
                "(images, labels, uncertainty), or to arr_3 with latents before the uncertainty"
            )
        members = tuple(_member(path, file, name) for name in names)
    opened = Npz(path, members[0], members[1], members[-1], members)
    _check(opened)
    return opened


def _member(path: Path, file: zipfile.ZipFile, name: str) -> Member:
    info = file.getinfo(name)
    with file.open(info) as stream:
        try:
            shape, fortran, dtype = _header(stream)
        except ValueError as error:
            raise DatasetError(f"{path}: {name} does not begin as an array does ({error}); write it again") from error
        start = stream.tell()
    if dtype.hasobject:
        raise DatasetError(f"{path}: {name} holds Python objects, which are never opened; save plain numbers")
    if fortran and len(shape) > 1:
        raise DatasetError(f"{path}: {name} is in Fortran order, whose rows are scattered; save it in C order")
    needed = start + math.prod(shape) * dtype.itemsize
    if info.file_size != needed:
        raise DatasetError(f"{path}: {name} has {info.file_size} bytes, its header needs {needed}; write it again")
    return Member(name.removesuffix(".npy"), shape, dtype, info.CRC)


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise ValueError(f"format version {version}")
    return readers[version](stream)


def _check(npz: Npz) -> None:
    images, labels, uncertainty = npz.images, npz.labels, npz.uncertainty
    n, *size = images.shape or (0,)
    fits = {
        "images uint8 [N, H, W, 3]": images.dtype == np.uint8 and len(size) == 3 and size[2:] == [3] and min(size) > 0,
        "labels uint8 [N, H, W] of the images' size": labels.dtype == np.uint8 and list(labels.shape[1:]) == size[:2],
        "uncertainty [N], floating": uncertainty.dtype.kind == "f" and len(uncertainty.shape) == 1,
    }
    for member, (needed, fit) in zip((images, labels, uncertainty), fits.items(), strict=True):
        if not fit:
            raise DatasetError(f"{npz.path}: {member.name} is {member.dtype} {list(member.shape)}; needed: {needed}")
    counts = [member.shape[0] if member.shape else 0 for member in npz.members]
    if len(set(counts)) > 1 or not n:
        raise DatasetError(f"{npz.path}: the arrays have {', '.join(map(str, counts))} rows; as many in each, above 0")


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DatasetError(f"{path} is damaged or cut off ({error}); copy or download it again") from error

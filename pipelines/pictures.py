"""The images that a training sees, wherever they lie: in a folder, in tars and zips, or in an object store.

Nothing is unpacked or fetched before it is seen: an image inside an archive is a stretch of its bytes.
"""

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from upath import UPath

from generate.errors import ImageError
from generate.images import IMAGE_SUFFIXES
from generate.pictures import Picture, is_image
from pipelines.files import storage
from pipelines.files.refusals import without_secrets
from pipelines.files.stores import opened

ARCHIVES = (".tar", ".zip")
_COMPRESSED = (".tgz", ".gz", ".bz2", ".xz", ".zst")
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip's member: the lengths of the name and of what comes after it
_METHODS: dict[int, Literal["stored", "deflated"]] = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}


@dataclass(frozen=True)
class Stored:
    """An image that is no file of this machine: one of a store, or a stretch of an archive."""

    place: UPath  # of the file that holds it
    name: str
    start: int = 0
    size: int | None = None  # None: up to the end
    zipped: Literal["stored", "deflated"] | None = None  # the stretch begins with a zip's header

    def __str__(self) -> str:
        return without_secrets(str(self.place)) + (f", {self.name}" if self.size is not None else "")

    def content(self) -> bytes:
        """Raises ImageError for a damaged one, StorageError where the store does not give it."""
        if self.zipped is None:
            return self._stretch(self.start, self.size)
        assert self.size is not None
        name, extra = _LOCAL_HEADER.unpack(self._stretch(self.start, _LOCAL_HEADER.size))
        packed = self._stretch(self.start + _LOCAL_HEADER.size + name + extra, self.size)
        try:
            return packed if self.zipped == "stored" else zlib.decompress(packed, -zlib.MAX_WBITS)
        except zlib.error as error:
            raise ImageError(f"{self} cannot be unpacked ({error}); the archive is damaged") from error

    def _stretch(self, start: int, size: int | None) -> bytes:
        try:
            return storage.read_stretch(self.place, start, None if size is None else start + size)
        except FileNotFoundError as error:
            raise ImageError(f"{self} has vanished since it was listed; put it back, or begin anew") from error


@dataclass(frozen=True)
class Pictures:
    """All of a place, in the order of their names."""

    found: list[Picture]
    files: dict[str, int | str]  # by name below the place; with its size, or with what changes when it is overwritten
    is_near: bool  # on this machine


def pictures(place: Path | str) -> Pictures:
    """The images below a folder or, where it has none, those in the archives below it; or those of one archive.

    What is hidden, masks and results are passed over. Raises ImageError where there are none, or an archive is damaged.
    """
    source = opened(place)
    is_near = isinstance(place, Path) or source.protocol in ("", "file", "local")
    shown = without_secrets(str(place))
    if source.suffix in _COMPRESSED:
        raise ImageError(f"{shown} is compressed as a whole; decompress it to a .tar, whose images are read in place")
    if source.suffix not in ARCHIVES and is_near and not source.is_dir():
        raise ImageError(f"{shown} {'is no folder' if source.exists() else 'does not exist'}; images are needed there")
    files = _files_near(Path(source.path)) if is_near else _files_far(source)
    if source.suffix in ARCHIVES and list(files) in ([""], []):
        files, archives = {source.name: files.get("", 0)}, {source.name: source}
        found: list[Picture] = []
    else:
        images = {name for name in files if is_image(name)}
        archives = {} if images else {name: source / name for name in sorted(files) if name.endswith(ARCHIVES)}
        files = {name: files[name] for name in sorted(images or archives, key=PurePosixPath)}
        near = Path(source.path)
        found = [near / name if is_near else Stored(source / name, name) for name in files if images]
    for archive in archives.values():
        found += _inside(archive)
    if not found:
        where = f"; nor do its {len(archives)} archives" if archives and source.suffix not in ARCHIVES else ""
        raise ImageError(f"{shown} holds no images{where}; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return Pictures(found, files, is_near)


def _files_far(source: UPath) -> dict[str, int | str]:
    try:
        return dict(storage.contents(source))
    except FileNotFoundError as error:
        raise ImageError(f"{without_secrets(str(source))} does not exist; images are needed there") from error


def _files_near(place: Path) -> dict[str, int | str]:
    if place.is_file():
        return {"": place.stat().st_size}
    wanted = (*IMAGE_SUFFIXES, *ARCHIVES)
    found = [path for path in place.rglob("*") if path.suffix.lower() in wanted]
    return {path.relative_to(place).as_posix(): path.stat().st_size for path in found}


def _inside(archive: UPath) -> Iterator[Stored]:
    """The images of a tar or a zip, in the order in which they lie there."""
    try:
        yield from _of_zip(archive) if archive.suffix == ".zip" else _of_tar(archive)
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        shown = without_secrets(str(archive))
        raise ImageError(f"{shown} is no {archive.suffix[1:]} that can be read ({error})") from error
    except FileNotFoundError as error:
        raise ImageError(f"{without_secrets(str(archive))} does not exist; images are needed there") from error


def _of_tar(archive: UPath) -> Iterator[Stored]:
    with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            if member.isfile() and is_image(member.name):
                yield Stored(archive, member.name, member.offset_data, member.size)


def _of_zip(archive: UPath) -> Iterator[Stored]:
    with archive.open("rb") as file, zipfile.ZipFile(file) as packed:
        for member in packed.infolist():
            if member.is_dir() or not is_image(member.filename):
                continue
            if member.flag_bits & 1 or member.compress_type not in _METHODS:
                shown = without_secrets(str(archive))
                raise ImageError(f"{shown}: {member.filename} is encrypted, or packed in a way other than deflate")
            zipped = _METHODS[member.compress_type]
            yield Stored(archive, member.filename, member.header_offset, member.compress_size, zipped)

"""What an object store, or a web server, is asked through fsspec; a name is a name there, and no pattern."""

from pathlib import Path
from typing import Any

from fsspec import get_filesystem_class
from upath import UPath

from pipelines.errors import InputError
from pipelines.files.refusals import without_secrets

_CHANGING = ("size", "ETag", "md5Hash", "etag", "LastModified", "last_modified", "mtime")  # as stores name it
_OF_PAGES = ("Last-Modified", "Content-MD5", "Digest")  # as web servers do
_WITH_FOLDERS = {"memory", "sftp", "ssh", "ftp", "smb", "hdfs", "webhdfs", "arrow_hdfs", "dbfs"}
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # our extras
_CONNECT_SECONDS, _ANSWER_SECONDS = 15, 60


def opened(place: str | Path | UPath) -> UPath:
    """A place by its path or URL. Raises InputError for a kind of URL that is unknown, or whose package is missing."""
    shown = without_secrets(str(place))
    try:
        path = place if isinstance(place, UPath) else UPath(place, **_limits(str(place)))
        if path.protocol:
            get_filesystem_class(path.protocol)
    except ImportError as error:
        extra = EXTRAS.get(str(place).partition("://")[0])
        remedy = f"`pip install 'datasetddpm[{extra}]'` brings it" if extra else f"install its package ({error})"
        raise InputError(f"{shown} is of a store whose package is not installed; {remedy}") from error
    except ValueError as error:
        raise InputError(
            f"{shown} cannot be opened: {error}; name a path, or a URL such as s3://bucket/folder"
        ) from error
    return path


def _limits(place: str) -> dict[str, Any]:
    """How long a server may keep silent, before its client asks again."""
    if place.startswith(("s3://", "s3a://")):
        return {"config_kwargs": {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _ANSWER_SECONDS}}
    if place.startswith(("http://", "https://")):
        import aiohttp  # here, since only a web server needs it

        silence = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_ANSWER_SECONDS)
        return {"client_kwargs": {"timeout": silence}}
    return {}


def make_folder(place: UPath) -> None:
    """Where a store has folders. Where it has buckets there is none to make, and one of a wrong name is not made."""
    if place.protocol in _WITH_FOLDERS:
        place.mkdir(parents=True, exist_ok=True)


def read_all(paths: list[UPath]) -> list[bytes]:
    """The bytes of each, fetched at the same time."""
    store: Any = paths[0].fs
    found = store.cat_ranges([str(store._strip_protocol(str(path))) for path in paths], None, None)
    for content in found:
        if isinstance(content, Exception):
            raise content
    return found


def contents(place: UPath) -> dict[str, str]:
    """Every file below by its relative name, with what changes when it is overwritten."""
    store: Any = place.fs
    store.invalidate_cache()
    root = str(store._strip_protocol(str(place))).rstrip("/")
    listing: dict[str, dict[str, Any]] = store.find(place.path, detail=True)
    below = {path.removeprefix(root).strip("/"): file for path, file in listing.items() if not path.endswith("/")}
    if place.protocol in ("http", "https"):  # links of an index page to itself, sorted otherwise
        below = {name: file for name, file in below.items() if not name.startswith(("?", "#"))}
    if len(below) > 1:
        below.pop("", None)  # what some consoles make for an empty folder
    if not below:
        _must_answer(place)
    for name, file in below.items():
        if not name or not any(file.get(key) for key in _CHANGING):  # a web server's listing knows names alone
            below[name] = store.info((place / name if name else place).path)
    keys = (*_CHANGING, *_OF_PAGES)
    return {name: repr([file.get(key) for key in keys if file.get(key)]) for name, file in below.items()}


def _must_answer(place: UPath) -> None:
    """A listing takes silence for nothing; what is asked of one place raises what is wrong."""
    try:
        place.fs.info(place.path)
    except FileNotFoundError as error:
        if isinstance(silence := error.__cause__, TimeoutError | ConnectionError):
            raise silence from None
        if silence is not None and type(silence).__module__.startswith("aiohttp."):
            raise silence from None


def listing(folder: UPath) -> dict[str, tuple[int, float]]:
    """Size and time of writing of every file; none for a folder that is not there."""
    folder.fs.invalidate_cache()  # others write here as well
    try:
        entries = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return {}
    files = [entry for entry in entries if entry["type"] == "file"]
    return {file["name"].rpartition("/")[2]: (file["size"] or 0, _written(file)) for file in files}


def _written(file: dict[str, Any]) -> float:
    """When an object was written; stores name that differently."""
    moments = [file[key] for key in ("LastModified", "mtime", "updated", "created") if key in file]
    if not moments:
        return 0.0
    return moments[0].timestamp() if hasattr(moments[0], "timestamp") else float(moments[0])

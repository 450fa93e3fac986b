"""To the Hub: a parcel in portions, each a commit; what is there already, byte for byte, is not sent again."""

import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pipelines.errors import DatasetError, StorageError
from pipelines.files.storage import Location, read
from pipelines.progress import follow
from pipelines.sharing.card import README
from pipelines.sharing.parcels import DATASET, Kind, Parcel, Piece

PORTION_FILES, PORTION_BYTES = 100, 2**30  # of a commit, at most; a larger file is alone in its own
_TARGET = re.compile(r"hf://(?P<kind>datasets/|models/)?(?P<name>[\w.-]+(?:/[\w.-]+)?)/?")
_CLIENTS = {"huggingface_hub", "httpx", "requests", "hf_xet"}


@dataclass(frozen=True)
class Target:
    """A repository of the Hub."""

    name: str  # owner/name, or a name of one's own
    repo_type: str  # as the Hub's library calls it: "dataset" or "model"

    def __str__(self) -> str:
        return f"hf://{'datasets/' if self.repo_type == 'dataset' else ''}{self.name}"


def target_of(url: str, kind: Kind) -> Target:
    """Raises DatasetError for anything but hf://datasets/OWNER/NAME of a dataset, hf://OWNER/NAME of a model."""
    match = _TARGET.fullmatch(url)
    wanted = "dataset" if kind == "dataset" else "model"
    needed = "hf://datasets/OWNER/NAME" if wanted == "dataset" else "hf://OWNER/NAME"
    if not match or (match["kind"] == "datasets/") != (wanted == "dataset"):
        raise DatasetError(f"{url} is no place for {'an' if kind[0] in 'aeiou' else 'a'} {kind}; {needed} is one")
    return Target(match["name"], wanted)


def push(parcel: Parcel, target: Target, *, private: bool) -> Iterator[int]:
    """Make the repository if need be, and send what it lacks; yield how many files are there after each portion.

    The page goes last. Killed, it goes on when it is called again. Raises DatasetError where the repository holds
    another dataset, StorageError where the Hub takes nothing.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api, kind = HfApi(), target.repo_type
    with _as_ours(target):
        name = api.create_repo(target.name, private=private or None, exist_ok=True, repo_type=kind).repo_id
        tree = api.list_repo_tree(name, recursive=True, repo_type=kind)
        held: dict[str, Any] = {entry.path: entry for entry in tree if hasattr(entry, "blob_id")}
        known = Path(api.hf_hub_download(name, DATASET, repo_type=kind)).read_bytes() if DATASET in held else None
    if parcel.kind == "dataset":
        _refuse_another(parcel, target, set(held), known)
    missing = {path: piece for path, piece in parcel.pieces.items() if not _is_held(piece, held.get(path))}
    done = len(parcel.pieces) - len(missing)
    yield done
    for portion in portions(missing):
        additions = [CommitOperationAdd(path, _content(piece)) for path, piece in portion.items()]
        with _as_ours(target):
            said = f"{parcel.kind}: {len(portion)} files"
            api.create_commit(name, additions, commit_message=said, repo_type=kind)
        done += len(portion)
        yield done


def follow_push(parcel: Parcel, target: Target, *, private: bool) -> None:
    """As `push`, to its end, with its progress."""
    counts = push(parcel, target, private=private)
    before = next(counts)
    steps = (now - last for last, now in itertools.pairwise(itertools.chain([before], counts)))
    for _ in follow(steps, len(parcel.pieces), "push", "files", before=before, count=lambda sent: sent):
        pass


def portions(pieces: Mapping[str, Piece]) -> Iterator[dict[str, Piece]]:
    """In their order, the page in one of its own."""
    portion: dict[str, Piece] = {}
    for path, piece in pieces.items():
        size = piece.size + sum(other.size for other in portion.values())
        if portion and (path == README or len(portion) == PORTION_FILES or size > PORTION_BYTES):
            yield portion
            portion = {}
        portion[path] = piece
    if portion:
        yield portion


def _refuse_another(parcel: Parcel, target: Target, held: set[str], known: bytes | None) -> None:
    """Raises DatasetError where the repository holds another dataset, or more of this one.

    `known` is its own dataset.json.
    """
    strange = sorted(path for path in held if path.startswith("shard-") and path not in parcel.pieces)
    ours = _digest_in(read(cast(Location, parcel.pieces[DATASET].source)))
    if known is not None and _digest_in(known) != ours:
        strange = [DATASET]
    if strange:
        raise DatasetError(f"{target} holds {strange[0]}, which is not of this dataset; name another repository")


def _digest_in(content: bytes) -> str | None:
    """Of a dataset.json; None for what is none."""
    try:
        return json.loads(content)["digest"]
    except (ValueError, KeyError, TypeError):
        return None


def _is_held(piece: Piece, entry: Any) -> bool:
    """Whether the Hub's file has these bytes: by its sha256, or by git's name for a small one."""
    if entry is None or entry.size != piece.size:
        return False
    if entry.lfs is not None:
        return entry.lfs.sha256 == (piece.sha256 or _digest("sha256", piece))
    return entry.blob_id == _digest("sha1", piece, f"blob {piece.size}\0".encode())


def _digest(algorithm: str, piece: Piece, before: bytes = b"") -> str:
    whole = hashlib.new(algorithm, before, usedforsecurity=False)
    content = _content(piece)
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        while block := file.read(2**20):
            whole.update(block)
    return whole.hexdigest()


def _content(piece: Piece) -> Path | bytes:
    """What the Hub's library takes: a file of this machine, or bytes."""
    if isinstance(piece.source, bytes | Path):
        return piece.source
    return read(piece.source)


@contextmanager
def _as_ours(target: Target) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # sorted at once: the library passes on errors of two of its clients
        known = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
        if not (isinstance(error, OSError) or known & _CLIENTS):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise StorageError(
            f"{target} takes no files ({reason.rstrip('.')}); connect to the network, log in with `hf auth login`, and "
            "run it again: it goes on"
        ) from error

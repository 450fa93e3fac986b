"""The members of a shard's tar, and whether they are what its report says. Nothing is ever written by their names."""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from generate.stored import TOLERANT, Natural, StoredError, stored
from pipelines.dataset.manifest import Dataset
from pipelines.dataset.reports import Report

_NAME = re.compile(r"([0-9]{12,19})\.(json|png|mask\.png|uncertainty\.png)", re.ASCII)
_NEEDED = {"json", "png", "mask.png"}


@dataclass(frozen=True)
class Description:
    """What a sample's JSON says of it, beside where it comes from."""

    __pydantic_config__ = TOLERANT

    seed: Natural
    uncertainty: float
    class_pixels: list[Natural]


def grouped(tar: bytes) -> Iterator[dict[str, Any]]:
    """Yield each sample of a tar, in its order: members by suffix, and `__key__`, the seed.

    Raises StoredError, a clause, for a tar that is damaged, or that holds what is no sample's.
    """
    record: dict[str, Any] = {}
    for name, content in _files(tar):
        match = _NAME.fullmatch(name)
        if not match:
            raise StoredError(f"the member {name!r} is no part of a sample")
        key, suffix = match.groups()
        if record and key != record["__key__"]:
            yield _whole(record)
            record = {}
        if suffix in record:
            raise StoredError(f"the member {name!r} is there twice")
        record |= {"__key__": key, suffix: content}
    if record:
        yield _whole(record)


def _files(tar: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as opened:
            for member in opened:
                file = opened.extractfile(member) if member.isreg() else None
                if file is None:
                    raise StoredError(f"the member {member.name!r} is no file")
                yield member.name, file.read()
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        if isinstance(error, StoredError):
            raise
        raise StoredError(f"it is no tar that can be read ({error})") from error


def _whole(record: dict[str, Any]) -> dict[str, Any]:
    if lacking := sorted(_NEEDED - record.keys()):
        raise StoredError(f"the sample {record['__key__']} lacks its {' and '.join(lacking)}")
    return record


def unlike(tar: bytes, report: Report, dataset: Dataset) -> str:
    """What the report says otherwise than the samples in its tar do, as a clause; "" where they agree."""
    stored_there = {c.seed: c for c in report.candidates if c.kept or dataset.keeps_all}
    found = set[int]()
    try:
        for record in grouped(tar):
            seed, said = int(record["__key__"]), stored(record["json"], Description)
            candidate = stored_there.get(seed)
            if candidate is None or seed in found:
                return f"seed {seed} is in it{' twice' if seed in found else ''}, and not in the report"
            found.add(seed)
            if (said.seed, said.uncertainty, said.class_pixels) != (
                seed,
                candidate.uncertainty,
                candidate.class_pixels,
            ):
                return f"seed, uncertainty or class_pixels of seed {seed} are others in the report"
    except StoredError as error:
        return str(error)
    lacking = sorted(stored_there.keys() - found)
    return f"seed {lacking[0]} is in the report, and not in it" if lacking else ""

"""croissant.json: a dataset's files and fields as Croissant 1.0 has them, so that its readers open the shards.

Written by hand, since the file is small and the library that reads it is not; that library opens it in the tests. It
lists the shards of one moment, by their sha256: a dataset that has grown needs it anew.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.dataset.inventory import INDEX, Inventory, shard_path
from pipelines.dataset.reports import each_report
from pipelines.files.storage import Location, read

CROISSANT = "croissant.json"
Node = dict[str, Any]

_OF_CR = (  # names of the standard context that mean the same in the namespace cr
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset "
    "jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source "
    "subField transform "
)
_CONTEXT: Node = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in _OF_CR.split()},
}
_PICTURES = {  # members of a shard: what they are called here, the pattern of their names, the end of such a name
    "image": ("*[0-9].png", r"\.png", "The image."),
    "mask": ("*.mask.png", r"\.mask\.png", "The class id of each pixel; 255 where there is none."),
    "uncertainty_map": (
        "*.uncertainty.png",
        r"\.uncertainty\.png",
        "255 * uncertainty / ln(classes) of each pixel.",
    ),
}
_COLUMNS = {
    "shard": ("sc:Text", "The shard of the candidate's unit."),
    "seed": ("sc:Integer", "The number of the candidate."),
    "kept": ("sc:Boolean", "Whether the filter kept it; shards hold what it kept."),
    "uncertainty": ("sc:Float", "Of the image, in nats."),
    "class_pixels": ("sc:Integer", "Pixels of each class, by its id."),
}


@dataclass(frozen=True)
class Shard:
    """What a report says of its shard, without the candidates."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Described:
    """What the file says beside the list of shards."""

    title: str
    description: str
    license: str  # a URL, or a name
    authors: Sequence[str]
    has_maps: bool  # whether shards hold the uncertainty of each pixel


def shards_in(inventory: Inventory) -> list[Shard]:
    """Those that are committed, by number of unit."""
    reports = each_report(inventory)
    return [Shard(shard_path(Path(), report.unit).name, report.bytes, report.sha256) for report in reports]


def croissant(described: Described, shards: Sequence[Shard], index_sha256: str) -> bytes:
    """The file's content."""
    pictures = [name for name in _PICTURES if name != "uncertainty_map" or described.has_maps]
    tars = [_shard(shard) for shard in shards]
    index = _file(INDEX, "application/x-parquet", index_sha256, "A row for each candidate, dropped ones included.")
    content: Node = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": described.title,
        "description": described.description,
        "license": described.license,
        "creator": [{"@type": "sc:Person", "name": author} for author in described.authors],
        "keywords": ["synthetic", "semantic segmentation"],
        "distribution": [*tars, index, *(_members(name, tars) for name in pictures)],
        "recordSet": [*map(_pictures, pictures), _candidates()],
    }
    if not described.authors:
        del content["creator"]
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def listed(folder: Location) -> dict[str, str] | None:
    """sha256 of every shard and of the index, by name, by the folder's file; None where there is no such file."""
    try:
        content = json.loads(read(folder / CROISSANT))
        files = [node for node in content["distribution"] if node["@type"] == "cr:FileObject"]
        return {node["name"]: node["sha256"] for node in files}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _shard(shard: Shard) -> Node:
    return _file(shard.name, "application/x-tar", shard.sha256, "The samples of a unit.") | {
        "contentSize": f"{shard.bytes} B"
    }


def _file(name: str, encoding: str, sha256: str, description: str) -> Node:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": description,
        "contentUrl": name,
        "encodingFormat": encoding,
        "sha256": sha256,
    }


def _members(name: str, shards: Sequence[Node]) -> Node:
    """All files of one kind in all shards."""
    pattern, _, description = _PICTURES[name]
    return {
        "@type": "cr:FileSet",
        "@id": f"{name}-files",
        "name": f"{name}-files",
        "description": description,
        "containedIn": [{"@id": shard["@id"]} for shard in shards],
        "encodingFormat": "image/png",
        "includes": pattern,
    }


def _pictures(name: str) -> Node:
    """A record for each picture of one kind: the seed of its sample, by which kinds are joined, and the picture."""
    records = f"{name}s"
    content = {"fileSet": {"@id": f"{name}-files"}, "extract": {"fileProperty": "content"}}
    fields = [
        _field(records, "seed", "sc:Integer", "The number of the sample.", _seed_of(name)),
        _field(records, name, "sc:ImageObject", _PICTURES[name][2], content),
    ]
    return _records(records, "Of each sample in the shards.", fields) | {"key": {"@id": f"{records}/seed"}}


def _seed_of(name: str) -> Node:
    """Where the seed stands in the name of a file."""
    return {
        "fileSet": {"@id": f"{name}-files"},
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": rf"^(\d+){_PICTURES[name][1]}$"},
    }


def _candidates() -> Node:
    fields = []
    for column, (kind, description) in _COLUMNS.items():
        source = {"fileObject": {"@id": INDEX}, "extract": {"column": column}}
        fields.append(_field("candidates", column, kind, description, source))
    fields[-1]["repeated"] = True
    return _records("candidates", "All that was sampled, kept or dropped.", fields)


def _records(name: str, description: str, fields: Sequence[Node]) -> Node:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description, "field": list(fields)}


def _field(records: str, name: str, kind: str, description: str, source: Node) -> Node:
    return {
        "@type": "cr:Field",
        "@id": f"{records}/{name}",
        "name": name,
        "description": description,
        "dataType": kind,
        "source": source,
    }

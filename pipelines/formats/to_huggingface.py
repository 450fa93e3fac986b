"""A dataset of the Hugging Face Hub: Parquet files that hold image and mask, and the head of a README."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.formats.items import About, Item, Piece, Pieces, Target

_AT_ONCE = 64  # rows that are written together


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    """A file for each shard and split; the name of the first sample tells them apart."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        file_name = f"{item.name}.png"
        rows.setdefault(item.split, []).append(
            {
                "image": {"bytes": item.png, "path": file_name},
                "mask": {"bytes": item.mask_png, "path": file_name},
                "classes": item.classes,
                "seed": item.seed,
                "uncertainty": item.uncertainty,
            }
        )
    schema, sizes = features(about).arrow_schema, {}
    for split, found in rows.items():
        table, buffer = pa.Table.from_pylist(found, schema), io.BytesIO()
        pq.write_table(table, buffer, row_group_size=_AT_ONCE)
        target.write(f"data/{split}-{found[0]['seed']:012d}.parquet", buffer.getvalue())
        sizes[split] = len(found)
    return sizes


def features(about: About) -> Any:
    """As `datasets` writes them into a file: it finds pictures and class names again there."""
    from datasets import ClassLabel, Features, Image, Sequence, Value

    return Features(
        {
            "image": Image(),
            "mask": Image(),
            "classes": Sequence(ClassLabel(names=list(about.scheme.names))),
            "seed": Value("int64"),
            "uncertainty": Value("float64"),
        }
    )


def finish(target: Target, pieces: Pieces, about: About) -> str:
    total = dict.fromkeys(about.splits, 0)
    for piece in pieces:
        for split, size in piece.items():
            total[split] += size
    target.write("README.md", _readme(about, total))
    return ""


def _readme(about: About, total: dict[str, int]) -> str:
    """Its licence and its origin are the owner's to say."""
    files = "\n".join(f"      - split: {split}\n        path: data/{split}-*.parquet" for split in total)
    sizes = ", ".join(f"{size} in {split}" for split, size in total.items())
    names = "\n".join(f"| {i} | {json.dumps(name, ensure_ascii=False)} |" for i, name in enumerate(about.scheme.names))
    return f"""---
configs:
  - config_name: default
    data_files:
{files}
task_categories:
  - image-segmentation
tags:
  - synthetic
---

# {about.folder_name}

Images of a diffusion model with the masks of an interpreter of its activations: {sizes}. `mask` holds class ids, 255
where a pixel has no class; `classes` are those that an image has; `uncertainty` is in nats.

| id | class |
|---|---|
{names}
"""

"""Label Studio: images, tasks.json with brush predictions, the most uncertain first, and config.xml of the project.

A brush is Label Studio's own run lengths of RGBA values, by the converter of its SDK. Images are local files: their
folder lies below what LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT names.
"""

import json
import math
from collections.abc import Iterator
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from pipelines.files.storage import writing
from pipelines.formats.items import About, Item, Piece, Pieces, Target, hex_of
from pipelines.formats.to_coco import write_list

TASKS = ".tasks"
_CONFIG = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="tag" toName="image">
{}
  </BrushLabels>
</View>
"""


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    """Tasks lie in a folder of their own until all are done: their order is not that of the shards."""
    for item in items:
        target.write(f"images/{item.name}.png", item.png)
        target.write(f"{TASKS}/{item.name}.json", json.dumps(task_of(item, about), ensure_ascii=False))
    return {}


def task_of(item: Item, about: About) -> dict:
    """Its score is how sure the interpreter is, from 0 to 1."""
    from label_studio_sdk.converter.brush import mask2rle

    height, width = item.mask.shape
    results = [
        {
            "id": f"{item.name}-{value}",
            "type": "brushlabels",
            "from_name": "tag",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": mask2rle(np.where(item.mask == value, 255, 0).astype(np.uint8)),
                "brushlabels": [about.scheme.names[value]],
            },
        }
        for value in item.classes
    ]
    place = quote(f"{about.folder_name}/images/{item.name}.png")
    score = 1 - item.uncertainty / math.log(len(about.scheme))
    return {
        "data": {"image": f"/data/local-files/?d={place}", "seed": item.seed, "uncertainty": item.uncertainty},
        "predictions": [{"model_version": "datasetddpm", "score": min(max(score, 0.0), 1.0), "result": results}],
    }


def finish(target: Target, pieces: Pieces, about: About) -> str:
    names = sorted(path.name for path in (target.folder / TASKS).iterdir())
    with writing(target.folder / "tasks.json") as temporary, open(temporary, "w", encoding="utf-8") as file:
        write_list(file, (json.loads((target.folder / TASKS / name).read_text("utf-8")) for name in names))
    labels = "\n".join(map(_label, about.scheme.names, about.scheme.colors))
    target.write("config.xml", _CONFIG.format(labels))
    return ""


def _label(name: str, color: tuple[int, int, int]) -> str:
    return f"    <Label value={quoteattr(name)} background={quoteattr(hex_of(color))}/>"

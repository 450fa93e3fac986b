"""mmsegmentation's folders: `img_dir/train`, `ann_dir/train` with class ids, 255 ignored; names and palette beside."""

import json
from collections.abc import Iterator

from pipelines.formats.items import About, Item, Piece, Pieces, Target, palette_png


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    for item in items:
        target.write(f"img_dir/{item.split}/{item.name}.png", item.png)
        target.write(f"ann_dir/{item.split}/{item.name}.png", palette_png(item.mask, about.scheme))
    return {}


def finish(target: Target, pieces: Pieces, about: About) -> str:
    """metainfo.json is what `metainfo=` of a BaseSegDataset takes."""
    metainfo = {"classes": about.scheme.names, "palette": about.scheme.colors}
    target.write("metainfo.json", json.dumps(metainfo, ensure_ascii=False, indent=2) + "\n")
    return ""

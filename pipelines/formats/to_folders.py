"""Images and masks in folders: `images/train/NAME.png`, `masks/train/NAME.png` of class ids, and scheme.toml."""

from collections.abc import Iterator

from pipelines.formats.items import About, Item, Piece, Pieces, Target


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    for item in items:
        target.write(f"images/{item.split}/{item.name}.png", item.png)
        target.write(f"masks/{item.split}/{item.name}.png", item.mask_png)
    return {}


def finish(target: Target, pieces: Pieces, about: About) -> str:
    target.write("scheme.toml", about.scheme.to_toml())
    return ""

"""Pascal VOC's segmentation folders: palette PNGs of class ids, 255 being "difficult", and lists of names by split."""

from collections.abc import Iterator

from pipelines.formats.items import About, Item, Piece, Pieces, Target, lines_of, palette_png


def write(target: Target, items: Iterator[Item], about: About) -> Piece:
    """Images stay PNG, though their folder is called as VOC calls it: JPEG would change what was labelled."""
    names: dict[str, list[str]] = {}
    for item in items:
        target.write(f"JPEGImages/{item.name}.png", item.png)
        target.write(f"SegmentationClass/{item.name}.png", palette_png(item.mask, about.scheme))
        names.setdefault(item.split, []).append(item.name)
    return names


def finish(target: Target, pieces: Pieces, about: About) -> str:
    """labels.txt has a name a line: line i is class i, from 0."""
    for split in about.splits:
        target.write(f"ImageSets/Segmentation/{split}.txt", lines_of(pieces, split))
    target.write("labels.txt", "".join(f"{name}\n" for name in about.scheme.names))
    return ""

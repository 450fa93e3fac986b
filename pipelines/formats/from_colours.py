"""Masks in colour, with a table that says which class a colour is."""

from functools import partial

from label import AnnotationError
from pipelines.formats.files import IMAGES, MASKS, Source
from pipelines.formats.palettes import Color, color_table, colored, table_of
from pipelines.formats.picture import Contents, Picture, by_stem, open_file

_TABLES = ("class_dict.csv", "classes.csv", "colors.csv", "colours.csv")


def read_colours(source: Source) -> Contents:
    """Masks with the images of their stem; the table is --scheme's, with colours, or a CSV of name,red,green,blue."""
    name, table = _table(source)
    images = source.images or source.one_of(IMAGES, "images; or --images names it")
    pairs, mistakes, rest = by_stem(images, source.one_of(MASKS, "masks"))
    known: dict[Color, str | None] = {color: label for label, color in table.items()}
    pictures = [
        Picture(
            mask.name,
            image.relative_to(images).as_posix(),
            partial(open_file, image),
            partial(colored, mask, known, name),
        )
        for image, mask in pairs
    ]
    notes = [f"images without a mask are left out: {len(rest)}, {rest[0]} first"] if rest else []
    return Contents(pictures, list(table), list(table.values()), mistakes, notes)


def _table(source: Source) -> tuple[str, dict[str, Color]]:
    """Its name in a message, and the colours by class."""
    if source.scheme and (source.scheme.has_own_colors):
        table = table_of(source.scheme)
        if len(set(table.values())) < len(table):
            raise AnnotationError("the scheme gives one colour to several classes; give each its own")
        return "the scheme", table
    for name in _TABLES:
        if (path := source.folder / name).is_file():
            return name, color_table(path)
    raise AnnotationError(
        f"{source.place}: no table says which class a colour is; name a scheme.toml with colours by --scheme, "
        f"or put {_TABLES[0]} with name,red,green,blue there"
    )

"""CVAT: the XML "CVAT for images 1.1", and the folder "Segmentation mask 1.1"."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from label import AnnotationError
from pipelines.formats.drawing import Drawn, Pixels, Shape, ellipse, patch, polygon, rectangle, runs
from pipelines.formats.files import IMAGES, Source
from pipelines.formats.palettes import colored, label_map
from pipelines.formats.picture import Contents, Picture, Places, by_stem, open_file

_WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")
_MASKS = "SegmentationClass"


def read_cvat(source: Source) -> Contents:
    """The XML, or the only one of a folder; shapes are drawn in the order of z_order."""
    path = source.only_file("xml")
    root = _root(path)
    places = Places(source.image_folders)
    images = [image for image in root.iter("image") if any(_is_shape(shape) for shape in image)]
    names = [label.findtext("name", "") for label in root.iterfind("meta//labels/label")]
    used = {shape.get("label", "") for image in images for shape in image if _is_shape(shape)}
    pictures = [
        Picture(
            f"{path.name}, {image.get('name', '')},",
            image.get("name", ""),
            lambda image=image: open_file(places.find(image.get("name", ""))),
            partial(_drawn, image),
        )
        for image in images
    ]
    return Contents(pictures, [*names, *sorted(used - set(names))], notes=list(_notes(root, len(images))))


def _root(path: Path) -> Element:
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeError, ValueError, LookupError) as error:
        raise AnnotationError(f"{path} is no XML: {error}") from error
    if root.tag != "annotations" or root.find("track") is not None:
        what = "CVAT for video" if root.tag == "annotations" else f"XML of another kind, <{root.tag}>"
        raise AnnotationError(f"{path} is {what}; export it from CVAT as CVAT for images 1.1")
    return root


def _is_shape(element: Element) -> bool:
    return element.tag not in _WITHOUT_AREA


def _notes(root: Element, drawn: int) -> Iterator[str]:
    images = list(root.iter("image"))
    if len(images) > drawn:
        yield f"images without a region are left out: {len(images) - drawn}"
    if skipped := Counter(shape.tag for image in images for shape in image if not _is_shape(shape)):
        yield f"{sum(skipped.values())} shapes without area are left out: {', '.join(sorted(skipped))}"


def _drawn(image: Element) -> Drawn:
    try:
        elements = sorted(filter(_is_shape, image), key=lambda shape: int(shape.get("z_order", "0")))
        shapes = [Shape(shape.attrib["label"], _pixels(shape)) for shape in elements]
        return Drawn(shapes, (int(image.attrib["height"]), int(image.attrib["width"])))
    except KeyError as error:
        raise AnnotationError(f"lacks the attribute {error.args[0]}") from error
    except AnnotationError:
        raise
    except ValueError as error:
        raise AnnotationError(f"has an attribute that is no number: {error}") from error


def _pixels(shape: Element) -> Callable[[int, int], Pixels]:
    kinds = {"polygon": _polygon, "box": _box, "ellipse": _ellipse, "mask": _mask}
    if shape.tag not in kinds:
        raise AnnotationError(f"has a shape <{shape.tag}>; {', '.join(kinds)} are read")
    return kinds[shape.tag](shape)


def _polygon(shape: Element) -> Callable[[int, int], Pixels]:
    points = []
    for pair in shape.attrib["points"].split(";"):
        x, y = pair.split(",")
        points.append((float(x), float(y)))
    if len(points) < 3:
        raise AnnotationError(f"has a polygon of {len(points)} points ({shape.get('label')})")
    return polygon(points)


def _box(shape: Element) -> Callable[[int, int], Pixels]:
    left, top, right, bottom = (float(shape.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
    return polygon(rectangle((left, top), (right - left, bottom - top), float(shape.get("rotation", "0"))))


def _ellipse(shape: Element) -> Callable[[int, int], Pixels]:
    x, y, across, down = (float(shape.attrib[name]) for name in ("cx", "cy", "rx", "ry"))
    return ellipse((x, y), (across, down), float(shape.get("rotation", "0")))


def _mask(shape: Element) -> Callable[[int, int], Pixels]:
    left, top, width, height = (int(shape.attrib[name]) for name in ("left", "top", "width", "height"))
    counts = [int(count) for count in shape.attrib["rle"].split(",")]
    try:
        return patch(runs(counts, height, width), top, left)
    except AnnotationError as error:
        raise AnnotationError(f"has a mask ({shape.get('label')}) that {error}") from error


def read_cvat_masks(source: Source) -> Contents:
    """SegmentationClass/ in the colours of labelmap.txt; its background is what nobody labelled."""
    table = label_map(source.path / "labelmap.txt")
    images = source.images or source.one_of(("JPEGImages", *IMAGES), "images; or --images names it")
    pairs, mistakes, rest = by_stem(images, source.one_of((_MASKS,), "masks"))
    named = {color: None if name == "background" else name for name, color in table.items()}
    pictures = [
        Picture(mask.name, image.name, partial(open_file, image), partial(colored, mask, named, "labelmap.txt"))
        for image, mask in pairs
    ]
    notes = [f"images without a mask are left out: {len(rest)}, {rest[0]} first"] if rest else []
    names = [name for name in table if name != "background"]
    return Contents(pictures, names, [table[name] for name in names], mistakes, notes)

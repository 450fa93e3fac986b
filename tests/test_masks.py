"""Each way in which a tool may write a mask: read as meant, or one sentence that says what to do."""

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from label import AnnotationError, load_annotations

SIZE: tuple[int, int] = (12, 16)
IDS = np.arange(12 * 16, dtype=np.uint8).reshape(SIZE) % 3
COLORS = np.array([[10, 20, 30], [0, 0, 0], [255, 255, 255]], dtype=np.uint8)  # greys, in another order than ids
SCHEME = "classes = [{}]".format(", ".join(f'{{ name = "{n}", color = {COLORS[n].tolist()} }}' for n in range(3)))
NAMES = 'classes = ["a", "b", "c"]'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images and a scheme of three classes with colours, but no mask yet."""
    (tmp_path / "scheme.toml").write_text(SCHEME)
    for name in ("a", "b"):
        Image.new("RGB", (16, 12), (9, 8, 7)).save(tmp_path / f"{name}.png")
    return tmp_path


def masks_of(folder: Path) -> list[np.ndarray]:
    return list(load_annotations(folder, SIZE).masks)


def refused(folder: Path, match: str) -> None:
    with pytest.raises(AnnotationError, match=match):
        load_annotations(folder, SIZE)


def palette(ids: np.ndarray, colors: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids.astype(np.uint8))
    image.putpalette(colors.ravel().tolist())
    return image


def painted(mode: str) -> Image.Image:
    return Image.fromarray(COLORS[IDS]).convert(mode)


READ: dict[str, Callable[[Path], object]] = {
    "class ids in grey": lambda folder: Image.fromarray(IDS).save(folder / "a.mask.png"),
    "another ending": lambda folder: Image.fromarray(IDS).save(folder / "a_mask.png"),
    "another format": lambda folder: Image.fromarray(IDS).save(folder / "a.mask.tif"),
    "16 bits": lambda folder: Image.fromarray(IDS.astype(np.uint16)).save(folder / "a.mask.png"),
    "32 bits": lambda folder: Image.fromarray(IDS.astype(np.int32)).save(folder / "a_mask.tiff"),
    "grey with opacity": lambda folder: Image.fromarray(IDS).convert("LA").save(folder / "a.mask.png"),
    "colours": lambda folder: painted("RGB").save(folder / "a.mask.png"),
    "colours with opacity": lambda folder: painted("RGBA").save(folder / "a_mask.png"),
    "a palette in the scheme's order": lambda folder: palette(IDS, COLORS).save(folder / "a.mask.png"),
    "a palette in another order": lambda folder: palette(2 - IDS, COLORS[::-1]).save(folder / "a.mask.png"),
    "a palette of other colours": lambda folder: palette(IDS, COLORS ^ 1).save(folder / "a.mask.png"),
    "a gif": lambda folder: palette(IDS, COLORS).save(folder / "a.mask.gif"),
    **{
        f"an array of {kind}": lambda folder, kind=kind: np.save(folder / "a.npy", IDS.astype(kind))
        for kind in ("u1", "i1", "<i2", ">i4", "u8", "i8")
    },
    "an array of another ending": lambda folder: np.save(folder / "a_mask.npy", IDS),
}


@pytest.mark.parametrize("kind", READ)
def test_a_mask_is_read_as_it_is_meant(folder: Path, kind: str) -> None:
    READ[kind](folder)
    assert np.array_equal(masks_of(folder)[0], IDS)


def test_masks_of_one_bit_are_classes_0_and_1(folder: Path) -> None:
    (folder / "scheme.toml").write_text(NAMES)
    Image.fromarray(IDS == 1).save(folder / "a.mask.png")
    np.save(folder / "b.npy", IDS == 1)
    assert all(np.array_equal(mask, IDS == 1) for mask in masks_of(folder))


def test_black_and_white_are_read_as_colours_where_the_scheme_has_both(folder: Path) -> None:
    Image.fromarray(np.where(IDS == 2, 255, 0).astype(np.uint8)).save(folder / "a.mask.png")
    Image.new("L", (16, 12)).save(folder / "b.mask.png")  # black alone, which may be class 0 as well
    assert np.array_equal(masks_of(folder)[0], np.where(IDS == 2, 2, 1))
    assert (masks_of(folder)[1] == 1).all()


def test_our_own_painted_masks_keep_what_they_ignore(folder: Path) -> None:
    ids = np.where(IDS == 2, 255, IDS).astype(np.uint8)
    palette(ids, np.concatenate([COLORS, np.full((253, 3), 255, np.uint8)])).save(folder / "a.mask.png")
    assert np.array_equal(masks_of(folder)[0], ids)


def test_what_is_transparent_is_ignored(folder: Path) -> None:
    clear = np.dstack([COLORS[IDS], np.where(IDS == 1, 0, 255).astype(np.uint8)])
    Image.fromarray(clear).save(folder / "a.mask.png")
    assert np.array_equal(masks_of(folder)[0], np.where(IDS == 1, 255, IDS))


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_a_colour_of_no_class_is_named_with_its_pixels(folder: Path, mode: str) -> None:
    colors = COLORS[IDS]
    colors[:2, :3] = (200, 30, 7)
    colors[5, 5] = (201, 30, 7)
    image = Image.fromarray(colors)
    (image.quantize(16) if mode == "P" else image).save(folder / "a.mask.png")
    refused(
        folder,
        r"a\.mask\.png has a colour of no class in scheme\.toml, \[200, 30, 7\], in 6 of its 192 pixels, and 1 more "
        "like it; paint in the classes' colours",
    )


def test_a_colour_mask_needs_the_classes_colours(folder: Path) -> None:
    (folder / "scheme.toml").write_text(NAMES)
    painted("RGB").save(folder / "a.mask.png")
    refused(
        folder, r"a\.mask\.png is in colour, and scheme\.toml gives the classes no colours; give each its color there"
    )


def test_two_classes_of_one_colour_cannot_be_told_in_a_colour_mask(folder: Path) -> None:
    (folder / "scheme.toml").write_text(SCHEME.replace("[255, 255, 255]", "[0, 0, 0]"))
    Image.new("RGB", (16, 12)).save(folder / "a.mask.png")
    refused(folder, "gives one colour to several classes; give each its own")


@pytest.mark.parametrize("name", ["a.mask.jpg", "a_mask.jpeg"])
def test_a_jpeg_is_refused_unless_every_pixel_has_the_colour_of_a_class(folder: Path, name: str) -> None:
    Image.fromarray(IDS).save(folder / name)
    refused(folder, f"{name} is a JPEG, which blurs class ids and colours alike; save the mask as PNG")
    Image.new("RGB", (16, 12), "white").save(folder / name)
    assert (masks_of(folder)[0] == 2).all()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(SIZE), "a.npy holds fractions or text; a mask is integers, the ids of classes"),
        (np.zeros((*SIZE, 3), np.uint8), "a.npy is 12x16x3; a mask is integers"),
        (np.zeros((), np.uint8), "a.npy is a single number; a mask is integers"),
        (np.full(SIZE, 2**60), "the mask of a.png has class 1152921504606846976; scheme.toml has 0 to 2"),
        (np.arange(192).reshape(SIZE), "has class 3, 4, 5, 6, 7 and 184 more; scheme.toml has 0 to 2"),
    ],
)
def test_an_array_that_is_no_mask_is_named(folder: Path, array: np.ndarray, said: str) -> None:
    np.save(folder / "a.npy", array)
    refused(folder, said)


@pytest.mark.parametrize(
    "kind", ["class ids in grey", "16 bits", "colours", "a palette in another order", "an array of i8"]
)
def test_a_damaged_mask_is_read_or_ends_in_one_sentence(folder: Path, kind: str) -> None:
    READ[kind](folder)
    (path,) = [p for p in folder.iterdir() if p.stem.endswith("mask") or p.suffix == ".npy"]
    whole, rng = path.read_bytes(), random.Random(0)
    for number in range(40):
        harmed = bytearray(whole)
        for _ in range(3):
            harmed[rng.randrange(min(len(whole), 130))] = rng.randrange(256)  # the headers
        path.write_bytes(harmed if number % 2 else whole[: rng.randrange(len(whole))])
        with suppress(AnnotationError):
            masks_of(folder)

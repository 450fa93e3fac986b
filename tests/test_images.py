import io

import numpy as np
import pytest
from PIL import Image

from generate import ImageError, read_image, to_rgb
from label import AnnotationError, load_annotations

RNG = np.random.default_rng(0)
WARNED = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow says what it skips of damaged files


def stored(folder, image, name="image.png", **settings):
    """What is read of an image after it was written."""
    image.save(folder / name, **settings)
    return read_image(folder / name)


def test_colour_is_read_as_it_is(tmp_path):
    pixels = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(stored(tmp_path, Image.fromarray(pixels)), pixels)
    assert np.array_equal(read_image(str(tmp_path / "image.png")), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_an_image_is_turned_as_its_exif_says(tmp_path, orientation, mode, name):
    upright = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
    turns = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }
    camera = turns[orientation]
    values = {"RGB": np.stack([camera] * 3, axis=-1), "L": camera, "I;16": camera.astype(np.uint16) * 257}[mode]
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = stored(tmp_path, Image.fromarray(values), name, exif=exif)
    assert np.array_equal(pixels, np.stack([upright] * 3, axis=-1))


@pytest.mark.parametrize(("mode", "name"), [("I;16", "image.png"), ("I;16", "image.tif"), ("I", "image.tif")])
def test_16_bits_are_scaled_to_8(tmp_path, mode, name):
    values = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    values[0, :4] = 0, 65535, 257, 129
    image = Image.fromarray(values if mode == "I;16" else values.astype(np.int32))
    assert image.mode == mode
    pixels = stored(tmp_path, image, name)
    assert pixels[0, :4, 0].tolist() == [0, 255, 1, 1]
    assert np.array_equal(pixels, np.stack([np.rint(values / 65535 * 255)] * 3, axis=-1))


def test_16_bits_of_the_other_byte_order_are_the_same():
    values = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    big = Image.frombytes("I;16B", (7, 5), values.astype(">u2").tobytes())
    assert np.array_equal(to_rgb(big), to_rgb(Image.fromarray(values)))


def test_numbers_beyond_16_bits_are_refused(tmp_path):
    with pytest.raises(ImageError, match=r"deep\.tif .* go from 0 to 70000; 8 or 16 bits, 0 to 65535, are needed"):
        stored(tmp_path, Image.fromarray(np.array([[0, 70000]], dtype=np.int32)), "deep.tif")


def test_fractions_are_refused(tmp_path):
    with pytest.raises(ImageError, match=r"float\.tif .* pixels are fractions"):
        stored(tmp_path, Image.fromarray(np.zeros((2, 2), dtype=np.float32)), "float.tif")


def test_grey_and_black_and_white_become_colour(tmp_path):
    grey = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
    assert np.array_equal(stored(tmp_path, Image.fromarray(grey)), np.stack([grey] * 3, axis=-1))
    assert np.array_equal(stored(tmp_path, Image.fromarray(grey > 99)), np.stack([255 * (grey > 99)] * 3, axis=-1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    transparent = None
    if mode in "PL":  # the second of these greys is named transparent beside the pixels
        image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
        image = image.convert("P") if mode == "P" else image
        transparent = 1
    pixels = stored(tmp_path, image.convert(mode), transparency=transparent)
    assert pixels.tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_half_transparent_black_is_grey(tmp_path):
    assert stored(tmp_path, Image.new("RGBA", (1, 1), (0, 0, 0, 128))).tolist() == [[[127] * 3]]


def test_a_palette_is_resolved(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    image.putpalette([250, 10, 20, 0, 90, 30])
    assert stored(tmp_path, image).tolist() == [[[250, 10, 20], [0, 90, 30]]]


def test_printing_colours_are_accepted(tmp_path):
    pixels = stored(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "print.jpg", quality=100)
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 3


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    assert stored(tmp_path, frames[0], "moving.gif", save_all=True, append_images=frames[1:])[0, 0].tolist() == [
        255,
        0,
        0,
    ]


def content(name):
    """The bytes of an image in the format of this name."""
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(buffer, Image.registered_extensions()[name])
    return buffer.getvalue()


@WARNED
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tif"])
@pytest.mark.parametrize("portion", [0, 0.02, 0.5, 0.9])
def test_a_truncated_file_is_named(tmp_path, suffix, portion):
    whole, path = content(suffix), tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(portion * len(whole))])
    with pytest.raises(ImageError, match=r"cut\.\w+ is no image that can be read"):
        read_image(path)


@WARNED
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tif"])
def test_a_damaged_file_is_read_or_named_and_nothing_else(tmp_path, suffix):
    whole, path, rng = content(suffix), tmp_path / f"damaged{suffix}", np.random.default_rng(1)
    named = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, 80, 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_image(path).dtype == np.uint8
        except ImageError as error:
            named += str(path) in str(error)
    assert named


def test_a_damaged_exif_is_named(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "WEBP", exif=exif)
    path = tmp_path / "exif.webp"
    path.write_bytes(buffer.getvalue().replace(b"MM\0*", b"ZZ\0*"))
    with pytest.raises(ImageError, match=r"exif\.webp is no image that can be read"):
        read_image(path)


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "letter.png").write_text("Dear Sir or Madam")
    with pytest.raises(ImageError, match=r"letter\.png is no image that can be read \(its format is not known\)"):
        read_image(tmp_path / "letter.png")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.png is no image that can be read \(No such file or directory\)"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match=r"is no image that can be read \(Is a directory\)"):
        read_image(tmp_path)


def test_a_large_image_is_read_without_a_word_and_a_bomb_is_named(tmp_path, monkeypatch):
    Image.new("RGB", (30, 30)).save(tmp_path / "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert read_image(tmp_path / "big.png").shape == (30, 30, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 449)
    with pytest.raises(ImageError, match=r"big\.png is no image that can be read \(Image size \(900 pixels\) exceeds"):
        read_image(tmp_path / "big.png")


def test_annotated_images_are_opened_alike(tmp_path):
    (tmp_path / "scheme.toml").write_text('classes = [{ name = "ground" }, { name = "thing" }]')
    Image.new("RGBA", (3, 3), (0, 0, 0, 0)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.zeros((3, 3), dtype=np.uint8))
    assert (load_annotations(tmp_path, (3, 3)).images == 255).all()
    (tmp_path / "a.png").write_bytes(content(".png")[:200])
    with pytest.raises(AnnotationError, match=r"a\.png is no image that can be read"):
        load_annotations(tmp_path, (3, 3))

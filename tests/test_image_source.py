"""Seeds to images: a denoiser that paints, a folder of photographs that are read."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generate import Denoiser, DenoiserImages, FolderImages, ImageError, ImageSource, read_image, sample
from generate.frames import padded, stretched
from generate.photographs import Photograph
from generate.pictures import image_names
from generate.settings import PhotographFit

RNG = np.random.default_rng(0)
ORIENTATION = 0x0112  # of EXIF


def photograph(path: Path, height: int = 16, width: int = 16) -> np.ndarray:
    """Write an image of noise; its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def read(source: ImageSource, seeds: list[int], batch_size: int = 2) -> list[np.ndarray]:
    return [image for batch in source.images(seeds, 0, batch_size) for image in batch]


def test_the_denoiser_paints_what_sample_does(tiny_denoiser: Denoiser) -> None:
    source = DenoiserImages(tiny_denoiser, "ddim", 3)
    expected = sample(tiny_denoiser, [4, 9, 2], run_seed=7, solver="ddim", steps=3, batch_size=2)
    painted = source.images([4, 9, 2], run_seed=7, batch_size=2)
    assert all(np.array_equal(*batches) for batches in zip(painted, expected, strict=True))
    assert (source.image_shape, source.count) == ((3, 16, 16), None)
    assert source.provenance(4) == {"solver": "ddim", "steps": 3}


def test_steps_that_are_spaced_otherwise_paint_other_images_and_say_so(tiny_denoiser: Denoiser) -> None:
    even, spaced = DenoiserImages(tiny_denoiser, steps=3), DenoiserImages(tiny_denoiser, steps=3, spacing="log_snr")
    assert not np.array_equal(read(even, [1])[0], read(spaced, [1])[0])
    assert spaced.provenance(1) == {"solver": "dpmsolver++", "steps": 3, "spacing": "log_snr"}


def test_what_changes_an_image_changes_the_digest_of_its_source(tiny_denoiser: Denoiser, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        photograph(tmp_path / name)
    whole = FolderImages.of(tmp_path, (16, 16))
    sources: list[ImageSource] = [
        DenoiserImages(tiny_denoiser),
        DenoiserImages(tiny_denoiser, "ddim"),
        DenoiserImages(tiny_denoiser, steps=4),
        DenoiserImages(tiny_denoiser, spacing="log_snr"),
        whole,
        FolderImages.of(tmp_path, (16, 16), "pad"),
        FolderImages.of(tmp_path, (8, 8)),
        FolderImages(tmp_path, whole.photographs[::-1], (16, 16)),
    ]
    assert len({source.digest for source in sources}) == len(sources)
    assert FolderImages.of(tmp_path, (16, 16)).digest == whole.digest


def test_seed_i_is_the_ith_file_in_sorted_order(tmp_path: Path) -> None:
    pixels = [photograph(tmp_path / name) for name in ("a.png", "b/a.png", "b/c.png", "d.png")]
    source = FolderImages.of(tmp_path, (16, 16))
    assert source.count == 4
    assert all(np.array_equal(read(source, [2, 0, 3, 1])[i], pixels[seed]) for i, seed in enumerate([2, 0, 3, 1]))
    assert [len(batch) for batch in source.images([0, 1, 2], 0, 2)] == [2, 1]
    assert list(source.images([], 0, 2)) == []


def test_a_sample_says_path_sha256_and_size_of_its_photograph(tmp_path: Path) -> None:
    photograph(tmp_path / "b" / "a.png", height=20, width=30)
    sha256 = hashlib.sha256((tmp_path / "b" / "a.png").read_bytes()).hexdigest()
    said = FolderImages.of(tmp_path, (16, 16), "pad").provenance(0)
    assert said == {"photograph": "b/a.png", "sha256": sha256, "size": [30, 20], "fit": "pad"}


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_photograph_of_another_size_is_stretched_or_padded(fit: PhotographFit, tmp_path: Path) -> None:
    pixels = photograph(tmp_path / "a.png", height=20, width=40)
    (image,) = read(FolderImages.of(tmp_path, (16, 16), fit), [0])
    expected = stretched(pixels, (16, 16)) if fit == "stretch" else padded(pixels, (16, 16))[0]
    assert np.array_equal(image, expected)
    if fit == "pad":
        inside = padded(pixels, (16, 16))[1]
        assert image[inside].shape == (8, 16, 3)
        assert np.array_equal(image[0], image[inside][0])


def test_grey_alpha_cmyk_16_bits_and_turned_photographs_are_read_as_every_image_is(tmp_path: Path) -> None:
    rgb = Image.fromarray(photograph(tmp_path / "rgb.png", 16, 12))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    rgb.convert("L").save(tmp_path / "grey.png")
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg")
    rgb.convert("P").save(tmp_path / "palette.gif")
    Image.fromarray(RNG.integers(0, 65536, (16, 12)).astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(RNG.integers(0, 256, (16, 12, 4), dtype=np.uint8)).save(tmp_path / "alpha.png")
    rgb.save(tmp_path / "turned.jpg", exif=exif)
    source = FolderImages.of(tmp_path, (16, 12))
    for seed, image in enumerate(read(source, list(range(source.count)))):
        path = tmp_path / source.photographs[seed].path
        assert np.array_equal(image, stretched(read_image(path), (16, 12))), path
    (turned,) = [each for each in source.photographs if each.path == "turned.jpg"]
    assert turned.size == (16, 12)  # upright, where the file lies on its side


def test_masks_results_and_hidden_files_are_no_photographs(tmp_path: Path) -> None:
    for name in ("a.png", "a.mask.png", "b_mask.png", "a.overlay.png", "a.uncertainty.png", "._a.png", ".x/b.png"):
        photograph(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    assert image_names(tmp_path) == ["a.png"]


def test_a_photograph_that_changed_or_vanished_is_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        photograph(tmp_path / name)
    source = FolderImages.of(tmp_path, (16, 16))
    photograph(tmp_path / "b.png")
    (tmp_path / "c.png").unlink()
    assert len(read(source, [0])) == 1
    with pytest.raises(ImageError, match=r"b\.png has changed since it was first listed: its sha256 is another"):
        read(source, [0, 1])
    with pytest.raises(ImageError, match=r"c\.png has vanished since it was first listed; put it back"):
        read(source, [2])


def test_what_is_no_photograph_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="none does not exist; images are needed there"):
        image_names(tmp_path / "none")
    with pytest.raises(ImageError, match=r"holds no images; expected files ending in \.png"):
        image_names(tmp_path)
    photograph(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"cut\.png is no image that can be read"):
        FolderImages.of(tmp_path, (16, 16))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match=r"folder\.png cannot be read \(Is a directory\)"):
        Photograph.of(tmp_path, "folder.png")

"""Images that a training reads where they lie: folders, tars, zips."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generate import ImageError
from generate.pictures import read_crop, read_picture
from pipelines.pictures import pictures


def png(value: int, size: tuple[int, int] = (16, 16)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(file, "PNG")
    return file.getvalue()


MEMBERS = {
    "a/000.png": png(10),
    "a/000.json": b"{}",
    "a/000.mask.png": png(1),
    "b/001.PNG": png(20),
    "002.png": png(30),
}


def make_tar(path: Path, members: dict[str, bytes] = MEMBERS) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def make_zip(path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in MEMBERS.items():
            packed.writestr(name, content)
    return path


def values(place: Path) -> list[int]:
    return [int(read_picture(picture)[0, 0, 0]) for picture in pictures(place).found]


def test_images_are_read_inside_a_tar_and_masks_are_passed_over(tmp_path: Path) -> None:
    assert values(make_tar(tmp_path / "x.tar")) == [10, 20, 30]


def test_of_a_folder_masks_results_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    for name in (*MEMBERS, "002_mask.png", "002.overlay.png", ".002.png", ".cache/003.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(MEMBERS.get(name, png(200)))
    assert values(tmp_path) == [30, 10, 20]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_images_are_read_inside_a_zip(tmp_path: Path, method: int) -> None:
    assert values(make_zip(tmp_path / "x.zip", method)) == [10, 20, 30]


def test_all_archives_of_a_folder_are_one_set_in_the_order_of_their_names(tmp_path: Path) -> None:
    make_tar(tmp_path / "b.tar", {"1.png": png(50)})
    make_tar(tmp_path / "a.tar", {"2.png": png(60)})
    make_zip(tmp_path / "c.zip")
    assert values(tmp_path) == [60, 50, 10, 20, 30]
    assert set(pictures(tmp_path).files) == {"a.tar", "b.tar", "c.zip"}


def test_beside_images_an_archive_is_left_alone(tmp_path: Path) -> None:
    make_tar(tmp_path / "b.tar")
    (tmp_path / "1.png").write_bytes(png(70))
    assert pictures(tmp_path).found == [tmp_path / "1.png"]
    assert pictures(tmp_path).files == {"1.png": len(png(70))}


def test_a_tar_without_images_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "texts.tar", {"1.txt": b"word"})
    with pytest.raises(ImageError, match=r"texts\.tar holds no images; expected files ending in \.png"):
        pictures(path)
    with pytest.raises(ImageError, match="holds no images; nor do its 1 archives; expected files ending in"):
        pictures(tmp_path)


@pytest.mark.parametrize("name", ["x.tar", "x.zip"])
def test_an_archive_that_is_none_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(ImageError, match=rf"x\.{name[2:]} is no {name[2:]} that can be read"):
        pictures(tmp_path / name)


def test_a_tar_that_is_compressed_as_a_whole_is_to_be_decompressed(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"x\.tar\.gz is compressed as a whole; decompress it to a \.tar"):
        pictures(tmp_path / "x.tar.gz")


def test_a_member_that_is_damaged_is_named_with_its_archive(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", {"1.png": png(50)[:40] + bytes(40)})
    (picture,) = pictures(path).found
    with pytest.raises(ImageError, match=r"x\.tar, 1\.png is no image that can be read"):
        read_picture(picture)


def test_a_place_that_is_not_there_is_told_from_one_without_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="nowhere does not exist; images are needed there"):
        pictures(tmp_path / "nowhere")
    with pytest.raises(ImageError, match="holds no images"):
        pictures(tmp_path)


def test_a_random_crop_is_a_square_inside_the_image(tmp_path: Path) -> None:
    columns = np.tile(np.arange(90, dtype=np.uint8) * 2, (30, 1))
    Image.fromarray(columns).save(tmp_path / "wide.png")
    crops = [read_crop(tmp_path / "wide.png", 16, np.random.default_rng(i)) for i in range(40)]
    spans = np.array([np.ptp(crop[8, :, 0]) / 2 for crop in crops])  # columns between the first and the last seen
    assert spans.min() > 24 * 14 / 16 - 2
    assert spans.max() < 30
    lefts = [int(crop[8, 0, 0]) / 2 for crop in crops]
    assert min(lefts) < 15
    assert max(lefts) > 40


def test_an_archive_that_vanishes_once_it_is_listed_is_put_back_or_another_listed(tmp_path: Path) -> None:
    tar = make_tar(tmp_path / "x.tar")
    listed = pictures(tar).found
    tar.rename(tmp_path / "y.tar")
    with pytest.raises(ImageError, match=r"has vanished since it was listed; put it back, or begin anew"):
        read_picture(listed[0])
    assert values(tmp_path / "y.tar") == [10, 20, 30]
    (tmp_path / "y.tar").rename(tar)
    assert int(read_picture(listed[0])[0, 0, 0]) == 10

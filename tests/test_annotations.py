import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms import Resize

from generate import IMAGE_SUFFIXES
from label import AnnotationError, SchemeError, load_annotations
from label.schemes import Scheme

SCHEME = 'classes = [{ name = "ground", color = [0, 0, 0] }, { name = "thing", color = [250, 10, 10] }]'


@pytest.fixture
def folder(tmp_path):
    """Two annotated images, one mask an index PNG and the other an array."""
    (tmp_path / "scheme.toml").write_text(SCHEME)
    for name in ("a", "b"):
        Image.new("RGB", (16, 12), (9, 8, 7)).save(tmp_path / f"{name}.png")
    Image.fromarray(np.ones((12, 16), dtype=np.uint8)).save(tmp_path / "a.mask.png")
    np.save(tmp_path / "b.npy", np.full((12, 16), 255, dtype=np.int64))
    return tmp_path


def test_png_and_npy_masks_are_both_read(folder):
    few = load_annotations(folder, (12, 16))
    assert few.names == ["a", "b"]
    assert [np.unique(mask).tolist() for mask in few.masks] == [[1], [255]]
    assert few.images.shape == (2, 12, 16, 3)
    assert few.scheme.names == ("ground", "thing")


def test_a_path_may_be_given_as_text(folder):
    assert load_annotations(str(folder), (12, 16)).names == ["a", "b"]
    assert Scheme.load(str(folder / "scheme.toml")).names == ("ground", "thing")


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_an_image_of_any_usual_format_is_annotated(folder, suffix):
    (folder / "b.png").unlink()
    Image.new("RGB", (16, 12), (9, 8, 7)).save(folder / f"b{suffix}")
    assert load_annotations(folder, (12, 16)).names == ["a", "b"]


def refused(folder, match):
    with pytest.raises(AnnotationError, match=match):
        load_annotations(folder, (12, 16))


def test_images_without_a_mask_are_left_out_and_named(folder):
    (folder / "a.mask.png").unlink()
    few = load_annotations(folder, (12, 16))
    assert (few.names, few.images.shape[0], few.unmasked) == (["b"], 1, ["a.png"])
    assert few.note == f"{folder}: 1 of 2 images have masks; the other, a.png, is not used"


def test_a_folder_in_which_no_image_has_a_mask_is_refused(folder):
    (folder / "a.mask.png").unlink()
    (folder / "b.npy").unlink()
    refused(folder, r"none of its 2 images has a mask; the mask of a\.png would be a\.mask\.png$")


@pytest.mark.parametrize(("key", "tool"), [("shapes", "LabelMe"), ("annotations", "COCO")])
def test_drawings_of_other_tools_are_named_where_masks_are_missing(folder, key, tool):
    (folder / "a.mask.png").unlink()
    (folder / "a.json").write_text(json.dumps({key: []}))
    (folder / "b.json").write_text("{")
    assert (
        f"not used; a.json holds drawings of {tool}, of which `datasetddpm import` makes masks"
        in load_annotations(folder, (12, 16)).note
    )
    (folder / "b.npy").unlink()
    refused(folder, rf"none of its 2 images has a mask; .*; a\.json holds drawings of {tool}, of which")


def test_a_mask_of_another_size_is_named(folder):
    np.save(folder / "b.npy", np.zeros((6, 8), dtype=np.uint8))
    refused(folder, r"the mask of b\.png is 8x6, its image 16x12")


def test_a_class_outside_the_scheme_is_named(folder):
    np.save(folder / "b.npy", np.full((12, 16), 2))
    refused(folder, r"the mask of b\.png has class 2; scheme\.toml has 0 to 1")


def test_a_negative_class_is_outside_the_scheme(folder):
    np.save(folder / "b.npy", np.full((12, 16), -1))
    refused(folder, "has class -1")


def test_all_mistakes_are_told_at_once(folder):
    for name in ("a.mask.png", "b.npy"):
        (folder / name).write_bytes(b"no mask")
    refused(folder, r"a\.mask\.png is no image.*b\.npy is no \.npy file")


def test_an_image_of_other_proportions_than_the_models_is_named(folder):
    with pytest.raises(AnnotationError, match=r"a\.png is 16x12, the model's images are 64x64"):
        load_annotations(folder, (64, 64))


@pytest.mark.parametrize("size", [(6, 8), (24, 32), (9, 12)])
def test_images_of_another_size_are_resized_as_torchvision_does_and_masks_to_the_nearest_pixel(folder, size):
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (12, 16, 3), np.uint8), rng.integers(0, 2, (12, 16), np.uint8)
    for name in ("a", "b"):
        Image.fromarray(image).save(folder / f"{name}.png")
        np.save(folder / f"{name}.npy", mask)
    (folder / "a.mask.png").unlink()
    few = load_annotations(folder, size)
    assert np.array_equal(few.images[0], np.asarray(Resize(size)(Image.fromarray(image))))
    nearest = F.interpolate(torch.from_numpy(mask)[None, None].float(), size=size, mode="nearest")
    assert np.array_equal(few.masks[0], nearest[0, 0].numpy())


def test_a_scheme_and_an_ignored_class_may_be_given_instead_of_a_file(folder):
    (folder / "scheme.toml").unlink()
    np.save(folder / "b.npy", np.eye(12, 16, dtype=np.uint8))
    few = load_annotations(folder, (12, 16), scheme=Scheme(("nothing", "thing")), ignore=0)
    assert np.array_equal(few.masks[1], np.where(np.eye(12, 16), 1, 255))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    refused(tmp_path / "nowhere", "nowhere does not exist; annotated images are needed there")
    (tmp_path / "nowhere").touch()
    refused(tmp_path / "nowhere", "nowhere is no folder")


def test_a_mask_without_an_image_is_named(folder):
    (folder / "a.png").rename(folder / "c.png")
    refused(folder, r"a\.mask\.png has no image; expected a\.png")


def test_two_masks_of_one_image_are_named(folder):
    np.save(folder / "a.npy", np.zeros((12, 16), dtype=np.uint8))
    refused(folder, r"a\.mask\.png and a\.npy are both masks of a\.png; remove one")


def test_two_images_of_one_mask_are_named(folder):
    Image.new("RGB", (16, 12)).save(folder / "a.jpg")
    refused(folder, r"a\.jpg and a\.png would share a\.mask\.png; remove one")


def test_an_image_whose_name_ends_like_a_masks_may_have_a_mask_of_its_own(folder):
    (folder / "b.png").rename(folder / "face_mask.png")
    (folder / "b.npy").rename(folder / "face_mask.npy")
    assert load_annotations(folder, (12, 16)).names == ["a", "face_mask"]


def test_masks_of_0_and_255_label_nothing_and_are_refused(folder):
    (folder / "scheme.toml").write_text('classes = ["ground", "thing"]')
    (folder / "b.npy").unlink()
    Image.fromarray(np.eye(12, 16, dtype=np.uint8) * 255).save(folder / "a.mask.png")
    refused(folder, "the masks hold 0 and 255 alone, and 255 is ignored.* write two classes as 0 and 1, or give them")


def test_pixels_of_classes_are_counted_in_each_image(folder):
    np.save(folder / "b.npy", np.eye(12, 16, dtype=np.uint8))
    assert load_annotations(folder, (12, 16)).class_pixels.tolist() == [[0, 192], [180, 12]]


def test_a_broken_image_is_named(folder):
    (folder / "a.png").write_bytes(b"not an image")
    refused(folder, r"a\.png is no image that can be read")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "scheme.toml").write_text(SCHEME)
    refused(tmp_path, "holds no images")


def test_a_folder_without_a_scheme_is_refused(folder):
    (folder / "scheme.toml").unlink()
    with pytest.raises(SchemeError, match=r"scheme\.toml is missing; it names the classes: classes = \["):
        load_annotations(folder, (12, 16))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("classes = [", r"does not list classes \(Invalid.*\); it needs classes = \["),
        ("names = 3", 'does not list classes; it needs classes = \\["sky", "tree"\\], or'),
        ("classes = [3, 4]", "does not list classes"),
        ('classes = ["a", { color = [1, 2, 3] }]', "class 1 has no name"),
        ('classes = ["a", { name = "b", colour = [1, 2, 3] }]', r"class 1 \(b\) has colour; name and color are what"),
        ('classes = ["a", { name = "b", color = "red" }]', r"class 1 \(b\) has the color red; three whole numbers"),
        ('classes = ["a", { name = "b", color = [1, 2, 256] }]', r"has the color \[1, 2, 256\]; three whole numbers"),
        ('classes = [{ name = "a" }]', "1 classes are given"),
        ('classes = [{ name = "a" }, { name = "a" }]', "given twice"),
        ('classes = [{ name = "a", color = [1, 2, 3] }, { name = "b" }]', "2 classes have 1 colours"),
    ],
)
def test_a_scheme_that_is_wrong_is_refused(tmp_path, text, match):
    (tmp_path / "scheme.toml").write_text(text)
    with pytest.raises(SchemeError, match=match):
        Scheme.load(tmp_path / "scheme.toml")


def test_a_scheme_is_read_back_as_it_was_written(tmp_path):
    plain = Scheme(("ground", "square", "dot"))
    strange = Scheme(('a "b" \\ c', "Ä\u200dß"), ((1, 2, 3), (4, 5, 6)))
    for scheme in (plain, strange):
        (tmp_path / "scheme.toml").write_text(scheme.to_toml(), "utf-8")
        assert Scheme.load(tmp_path / "scheme.toml") == scheme
    assert "color" not in plain.to_toml(), "nobody chose one"


def test_a_scheme_may_be_plain_names(tmp_path):
    (tmp_path / "scheme.toml").write_text('classes = ["sky", "tree"]')
    assert Scheme.load(tmp_path / "scheme.toml") == Scheme(("sky", "tree"))


def test_classes_without_colours_are_given_distinct_ones():
    colors = Scheme(tuple(f"class {i}" for i in range(20))).colors
    assert len(set(colors)) == 20

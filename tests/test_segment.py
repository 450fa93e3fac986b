import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image

from generate import Denoiser, ImageError, Schedule
from label import FITS, DenoiserFeatures, Interpreter, Scheme
from label.pixel_classifiers import PixelClassifiers
from pipelines import Recipe, segment
from pipelines.dataset.shards import grey_levels
from pipelines.folders import interpreter_folder
from pipelines.stages.segment import image_files, segment_files, unique_stems

RNG = np.random.default_rng(0)
SCHEME = Scheme(("ground", "square", "dot"), ((0, 0, 0), (220, 40, 90), (20, 240, 240)))
RESULTS = ("mask.png", "overlay.png", "uncertainty.png", "json")


def same(found, expected) -> bool:
    """Whether two images of Pillow's or arrays hold the same numbers."""
    return np.array_equal(np.asarray(found), np.asarray(expected))


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def untrained(denoiser: Denoiser) -> Interpreter:
    """Two members of random weights: they know nothing, but differ from pixel to pixel and from one another."""
    features = DenoiserFeatures(denoiser, steps=[50], blocks=[1, 3])
    classifiers = PixelClassifiers(2, features.channels, len(SCHEME))
    classifiers.initialise([torch.Generator().manual_seed(i) for i in range(2)])
    for linear in (classifiers.linear_1, classifiers.linear_2, classifiers.linear_3):
        linear.weight.data *= 20
    return Interpreter(features, classifiers, SCHEME)


@pytest.fixture
def interpreter(tiny_denoiser):
    return untrained(tiny_denoiser)


@pytest.fixture
def recipe(project):
    """A recipe whose interpreter is there."""
    recipe = Recipe.load(project / "recipe.toml")
    untrained(Denoiser.from_pretrained(recipe.paths.denoiser)).save_pretrained(interpreter_folder(recipe))
    return recipe


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def test_results_are_what_predict_says(interpreter):
    image = noise(16, 16)
    labels, found = interpreter.predict(image[None]), segment(image, interpreter)
    assert same(found.mask, labels.masks[0])
    assert found.uncertainty == labels.uncertainty[0]
    assert same(found.pixel_uncertainty, np.rint(labels.pixel_uncertainty[0] / np.log(3) * 255))
    assert found.shares == {name: (labels.masks == i).mean() for i, name in enumerate(SCHEME.names)}
    assert len(np.unique(labels.masks)) > 1
    assert np.asarray(found.pixel_uncertainty).max() > 0


def test_the_mask_is_shown_in_the_classes_colours_and_laid_over_the_image(interpreter):
    image = noise(16, 16)
    found = segment(Image.fromarray(image), interpreter)
    assert (found.mask.mode, found.overlay.mode, found.pixel_uncertainty.mode) == ("P", "RGB", "L")
    colours = np.array(SCHEME.colors)[np.asarray(found.mask)]
    assert same(found.mask.convert("RGB"), colours)
    assert np.abs(np.asarray(found.overlay) - (image / 2 + colours / 2)).max() <= 1


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(64, 64), (61, 90), (1, 1)])
def test_results_have_the_images_size(interpreter, fit, size):
    found = segment(noise(*size), interpreter, fit=fit)
    assert found.mask.size == found.overlay.size == found.pixel_uncertainty.size == size[::-1]
    assert sum(found.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("size", [(333, 500), (1024, 1024)])
def test_large_images_are_segmented(interpreter, fit, size):
    assert segment(noise(*size), interpreter, fit=fit).mask.size == size[::-1]


@pytest.mark.parametrize("size", [(333, 500), (1024, 1024)])
def test_large_images_are_segmented_in_tiles(size):
    plain = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "add_attention": False}
    unet = UNet2DModel(sample_size=128, layers_per_block=1, block_out_channels=(4, 4), norm_num_groups=2, **plain)
    denoiser = Denoiser(unet, Schedule.named("cosine", "v_prediction"), digest="plain")
    found = segment(noise(*size), untrained(denoiser), fit="tile")
    assert found.mask.size == size[::-1]
    assert len(np.unique(np.asarray(found.mask))) > 1


def test_an_image_of_pillows_is_turned_as_its_exif_says(interpreter):
    upright = noise(20, 30)
    turned = Image.fromarray(np.rot90(upright))
    turned.getexif()[0x0112] = 6
    found = segment(turned, interpreter, fit="tile")
    assert same(found.mask, segment(upright, interpreter, fit="tile").mask)


def test_16_bit_grey_is_segmented_as_8_bit_grey(interpreter):
    grey = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert same(segment(deep, interpreter).mask, segment(Image.fromarray(grey), interpreter).mask)


def test_an_unknown_fit_is_answered_with_the_known_ones(interpreter):
    with pytest.raises(ValueError, match="fit 'crop' is not known; known are stretch, pad, tile"):
        segment(noise(16, 16), interpreter, fit="crop")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "image", [np.zeros((16, 16, 3)), np.zeros((16, 16), np.uint8), np.zeros((0, 9, 3), np.uint8)], ids=str
)
def test_an_array_that_is_no_image_is_refused(interpreter, image):
    with pytest.raises(ImageError, match=r"uint8 \[height, width, 3\] is needed"):
        segment(image, interpreter)


def test_grey_levels_go_from_none_to_the_greatest_possible_uncertainty():
    nats = np.array([[0, np.log(3) / 2, np.log(3)]], dtype=np.float32)
    assert grey_levels(nats, SCHEME).tolist() == [[0, 128, 255]]


def test_files_and_folders_are_segmented_and_the_broken_ones_named(recipe, photos, tmp_path):
    Image.fromarray(noise(20, 30)).save(photos / "wide.png")
    Image.fromarray(noise(30, 20)).save(photos / "tall.jpg")
    whole = (photos / "tall.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "made" / "here"
    outcome = segment_files(recipe, [photos, tmp_path / "nowhere.png"], out, "pad")
    assert [failure.partition(" is no image")[0] for failure in outcome.failures] == [
        str(photos / "cut.jpg"),
        str(tmp_path / "nowhere.png"),
    ]
    assert outcome.clause == "masks of 2 images"
    assert sorted(p.name for p in out.iterdir()) == sorted(f"{s}.{r}" for s in ("tall", "wide") for r in RESULTS)


def test_what_is_written_is_what_segment_returns(recipe, photos, tmp_path):
    image = noise(20, 30)
    Image.fromarray(image).save(photos / "wide.png")
    segment_files(recipe, [photos / "wide.png"], tmp_path / "made", "tile")
    features = DenoiserFeatures.from_pretrained(
        interpreter_folder(recipe), Denoiser.from_pretrained(recipe.paths.denoiser)
    )
    interpreter = Interpreter.from_pretrained(interpreter_folder(recipe), features)
    expected = segment(image, interpreter, fit="tile")
    with Image.open(tmp_path / "made" / "wide.mask.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette() == SCHEME.palette
        assert same(mask, expected.mask)
    with Image.open(tmp_path / "made" / "wide.overlay.png") as overlay:
        assert same(overlay, expected.overlay)
    with Image.open(tmp_path / "made" / "wide.uncertainty.png") as doubt:
        assert same(doubt, expected.pixel_uncertainty)
    assert json.loads((tmp_path / "made" / "wide.json").read_text()) == {
        "image": str(photos / "wide.png"),
        "size": [30, 20],
        "uncertainty": expected.uncertainty,
        "fit": "tile",
        "interpreter": interpreter.digest,
        "shares": expected.shares,
    }


def test_images_of_the_same_stem_are_written_apart(recipe, photos, tmp_path):
    for name, size in (("a.png", (3, 4)), ("a.jpg", (5, 6)), ("sub/A.png", (7, 8))):
        (photos / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(*size)).save(photos / name)
    segment_files(recipe, [photos], tmp_path / "made", "stretch")
    sizes = {}
    for path in (tmp_path / "made").glob("*.json"):
        about = json.loads(path.read_text())
        sizes[path.stem] = Path(about["image"]).relative_to(photos).as_posix(), about["size"]
    assert sizes == {"a": ("a.jpg", [6, 5]), "a-2": ("a.png", [4, 3]), "A-3": ("sub/A.png", [8, 7])}


def test_a_numbered_stem_is_never_anothers_own():
    names = ["x/face.png", "y/face.png", "face-2.png", "z/face-2.png", "face-2-2.jpg"]
    stems = unique_stems([Path(name) for name in names])
    assert list(stems.values()) == ["face", "face-3", "face-2", "face-2-3", "face-2-2"]


def test_of_a_folder_masks_and_earlier_results_are_left_out(photos):
    for name in ("b.PNG", "a.tif", "a.mask.png", "a.overlay.png", "a.uncertainty.png", "notes.txt", "sub/c.webp"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).touch()
    found = image_files([photos / "b.PNG", photos, photos / "a.mask.png"])
    assert [path.relative_to(photos).as_posix() for path in found] == ["b.PNG", "a.tif", "sub/c.webp", "a.mask.png"]


def test_a_folder_without_images_is_refused_before_any_work(recipe, photos, tmp_path):
    with pytest.raises(ImageError, match=r"photos holds no images; expected files ending in \.png"):
        segment_files(recipe, [photos], tmp_path / "made", "stretch")
    assert not (tmp_path / "made").exists()


def test_masks_beside_the_images_are_never_overwritten(recipe, project):
    before = (project / "annotated" / "0.mask.png").read_bytes()
    with pytest.raises(ImageError, match=r"annotated holds 0\.png itself; name another folder"):
        segment_files(recipe, [project / "annotated"], project / "sub" / ".." / "annotated", "stretch")
    assert (project / "annotated" / "0.mask.png").read_bytes() == before

"""The parts behind the page: what is drawn and accepted, what an ensemble learns in a moment, what comes next."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deeplab import mean_iou
from generate import Denoiser
from label import DenoiserFeatures, Scheme, load_annotations
from pipelines.annotator.ensemble import Pixels, chosen_pixels, cross_validated, trained
from pipelines.annotator.folder import AnnotatedFolder, ConflictError, UnknownImageError
from pipelines.annotator.memory import Memory, at_size, cut_to
from pipelines.annotator.order import chosen, farthest, order
from pipelines.annotator.strokes import Annotation, origin_file
from pipelines.annotator.watcher import Watcher
from pipelines.errors import InputError
from pipelines.places import PACKAGE

SCHEME = Scheme(("ground", "square", "dot"))
NEVER = lambda: False  # noqa: E731


@pytest.fixture
def folder(project: Path) -> AnnotatedFolder:
    return AnnotatedFolder(project / "annotated", SCHEME)


def test_a_mask_of_another_tool_counts_as_drawn(folder: AnnotatedFolder) -> None:
    found = folder.read("0.png")
    assert (found.origin == 1).all()
    assert (found.learnt == found.mask).all()


def test_what_was_accepted_is_learnt_from_only_when_the_image_is_done(folder: AnnotatedFolder) -> None:
    before = folder.read("0.png")
    origin = np.where(before.mask == 1, 2, 1).astype(np.uint8)
    folder.save("0.png", Annotation(before.mask, origin), based_on=before.revision)
    assert (folder.read("0.png").learnt[before.mask == 1] == 255).all()
    folder.set_done("0.png", True)
    assert folder.state("0.png") == "done"
    assert (folder.read("0.png").learnt == before.mask).all()
    assert (folder.read("0.png").drawn[before.mask == 1] == 255).all()


@pytest.mark.parametrize("crash", ["origins are older", "origins are missing", "origins are damaged"])
def test_after_a_crash_between_the_two_files_labelled_pixels_count_as_drawn(
    folder: AnnotatedFolder, crash: str
) -> None:
    before, file = folder.read("0.png"), origin_file(folder.path / "0.png")
    mask = before.mask.copy()
    mask[0], mask[1] = 255, 2
    folder.save("0.png", Annotation(before.mask, before.origin * 2), based_on=before.revision)
    old = file.read_bytes()
    folder.save("0.png", Annotation(mask, np.ones_like(mask)), based_on=folder.read("0.png").revision)
    if crash == "origins are missing":
        file.unlink()
    else:
        file.write_bytes(old if crash == "origins are older" else b"\x89PNG")
    found = folder.read("0.png")
    assert (found.mask == mask).all()
    assert (found.origin[0] == 0).all(), "a pixel without a class was not drawn"
    assert (found.origin[1] != 0).all()


def test_a_mask_in_colours_or_as_an_array_is_read_and_written_back(folder: AnnotatedFolder) -> None:
    colored = Scheme(SCHEME.names, ((1, 2, 3), (240, 163, 255), (0, 117, 220)))
    masks = {name: folder.read(name).mask for name in folder.names}
    for name in ("1", "2"):
        (folder.path / f"{name}.mask.png").unlink()
    np.save(folder.path / "1.npy", masks["1.png"])
    colored.painted(masks["2.png"]).convert("RGB").save(folder.path / "2.mask.bmp")
    painted = AnnotatedFolder(folder.path, colored)
    for name in ("1.png", "2.png"):
        found = painted.read(name)
        assert (found.mask == masks[name]).all()
        painted.save(name, Annotation(2 - found.mask, found.origin), based_on=found.revision)
    read = load_annotations(folder.path, (16, 16), scheme=colored)
    assert (read.masks[1] == 2 - masks["1.png"]).all()
    assert (read.masks[2] == 2 - masks["2.png"]).all()
    assert (folder.path / ".2.mask.bmp").exists(), "what was replaced is kept, hidden"


def test_an_unknown_name_and_an_older_revision_are_refused(folder: AnnotatedFolder) -> None:
    with pytest.raises(UnknownImageError, match="is no image of"):
        folder.read("../recipe.toml")
    with pytest.raises(ConflictError, match="changed in another tab"):
        folder.save("0.png", folder.read("0.png"), based_on="older")
    with pytest.raises(InputError, match="a class is missing"):
        folder.change_classes(Scheme(("ground", "square")))


def test_an_image_of_other_proportions_is_refused_where_it_lies_and_cut_where_it_is_added() -> None:
    wide = np.zeros((20, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="it is 40x20, the model's images are 16x16; cut it"):
        at_size(wide, (16, 16))
    wide[:, 10:30] = 200
    assert (cut_to(wide, (16, 16)) == 200).all()


def test_an_ensemble_learns_what_the_features_tell() -> None:
    pixels = [_separable(seed) for seed in range(4)]
    classifiers = trained(pixels, 3, batches=40)
    assert classifiers is not None
    scores = classifiers(pixels[0].features.float().expand(3, -1, -1))
    assert (scores.mean(0).argmax(-1) == pixels[0].labels).float().mean() > 0.95


def test_with_one_class_there_is_nothing_to_learn_yet() -> None:
    assert trained([], 3, batches=5) is None
    one = Pixels(torch.zeros(5, 4).half(), torch.ones(5, dtype=torch.long))
    assert trained([one], 3, batches=5) is None
    assert trained([_separable(0)], 3, batches=5, stop=lambda: True) is None


def test_cross_validation_counts_only_images_that_were_not_learnt_from() -> None:
    torch.manual_seed(0)
    noise = [Pixels(torch.randn(300, 20).half(), torch.randint(3, (300,))) for _ in range(6)]
    found = cross_validated(noise, 3, folds=3, batches=60, stop=NEVER)
    assert found
    assert (found.images, found.pixels) == (6, 1800)
    assert found.mean_iou is not None
    assert found.mean_iou < 0.3, "noise cannot be known"
    assert cross_validated(noise[:1], 3, folds=3, batches=5, stop=NEVER) == type(found)(None, (None,) * 3, 0, 0)


def test_a_cross_validated_mean_is_that_of_the_networks_measure() -> None:
    pixels = [_separable(seed, noise=1.5) for seed in range(6)]
    found = cross_validated(pixels, 3, folds=6, batches=30, stop=NEVER)
    assert found
    predictions = []
    for i, held in enumerate(pixels):
        classifiers = trained([p for j, p in enumerate(pixels) if j != i], 3, batches=30)
        assert classifiers
        votes = classifiers(held.features.float().expand(3, -1, -1)).argmax(-1).mode(0).values
        predictions.append(votes.numpy())
    truth = np.stack([p.labels.numpy() for p in pixels])[:, None]
    expected = mean_iou(np.stack(predictions)[:, None], truth, classes=3, ignore_index=255)
    assert found.mean_iou == pytest.approx(expected, abs=0.03), "three votes for three classes may tie"


def test_next_is_the_doubtful_and_the_unlike() -> None:
    pooled = np.array([[0.0, 0], [1, 0], [9, 9], [0, 1]])
    distance = farthest(pooled, pooled[:1])
    assert distance.argmax() == 2
    assert distance[0] == 0
    assert order(np.array([0.1, 0.4, 0.0, 0.0]), distance).argmax() in (1, 2)
    assert order(np.array([0.4, 0.0, 0.4, 0.0]), distance).argmax() == 2
    assert farthest(pooled, np.zeros((0, 2))).argmax() != 2, "the first is a usual one"


def test_each_chosen_image_is_the_farthest_from_those_before_it_where_all_are_known_alike() -> None:
    images = np.random.default_rng(0).normal(size=(12, 3))
    found = chosen(images, images[:2], np.ones(12), 4)
    between = np.linalg.norm((images[:, None] - images[None]) / images.std(0), axis=-1)
    before = [0, 1]
    for image in found:
        nearest = between[:, before].min(axis=1)
        assert nearest[image] >= 0.95 * nearest.max(), "the scale counts those that are done twice"
        before.append(image)
    assert len({0, 1, *found}) == 6
    unsure = np.where(np.arange(12) == 7, 9.0, 0.1)
    assert chosen(images, images[:2], unsure, 1) == [7]


def test_features_are_forgotten_when_they_need_too_much_memory(
    folder: AnnotatedFolder, tiny_denoiser: Denoiser
) -> None:
    memory = Memory(folder, DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[1, 2]), budget=1)
    for name in folder.names:
        memory.maps_of(name)
    assert list(memory.maps) == [folder.names[-1]]
    assert len(memory.pooled) == 4


def test_of_a_small_mask_every_pixel_is_learnt_from(folder: AnnotatedFolder, tiny_denoiser: Denoiser) -> None:
    features = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[1, 2])
    annotation = folder.read("0.png")
    kept = chosen_pixels(Memory(folder, features).maps_of("0.png"), annotation.mask, features, "bilinear")
    assert len(kept.labels) == 256
    assert (np.bincount(kept.labels) == np.bincount(annotation.mask.ravel())).all()


def test_at_64_pixels_a_suggestion_follows_a_stroke_within_a_second_and_a_half(tmp_path: Path) -> None:
    for image in sorted((PACKAGE / "demo" / "annotated").glob("????????.png"))[:4]:
        (tmp_path / image.name).write_bytes(image.read_bytes())
    scheme = Scheme.load(PACKAGE / "demo" / "annotated" / "scheme.toml")
    truth = load_annotations(PACKAGE / "demo" / "annotated", (64, 64))
    folder = AnnotatedFolder(tmp_path, scheme)
    features = DenoiserFeatures(
        Denoiser.from_pretrained(PACKAGE / "demo" / "model"), steps=[50, 150, 250], blocks=[3, 4, 5, 6, 7]
    )
    told: list[dict[str, Any]] = []
    watcher = Watcher(folder, features, told.append)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        seconds = [_drawn(watcher, folder, name, truth.masks[i], told) for i, name in enumerate(folder.names)]
    finally:
        assert watcher.ends_well()
        thread.join()
    assert min(seconds[1:]) < 1.5, seconds


def _drawn(
    watcher: Watcher, folder: AnnotatedFolder, name: str, truth: np.ndarray, told: list[dict[str, Any]]
) -> float:
    """Seconds from a stroke across the middle of an image, whose features are there, to what it makes suggested."""
    watcher.opened(name)
    _wait(lambda: name in watcher.memory.maps)
    mask = np.full_like(truth, 255)
    mask[30:34] = truth[30:34]
    folder.save(name, Annotation(mask, (mask != 255).astype(np.uint8)), based_on=folder.read(name).revision)
    before, start = len(told), time.monotonic()
    watcher.changed(name)
    _wait(lambda: any(m["kind"] == "suggestion" and m["name"] == name for m in told[before:]))
    return time.monotonic() - start


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _separable(seed: int, noise: float = 0.3) -> Pixels:
    """Pixels of three classes, each around a corner of its own."""
    torch.manual_seed(seed)
    labels = torch.arange(3).repeat(40)
    corners = 2 * torch.eye(3)[labels]
    return Pixels((corners + noise * torch.randn(120, 3)).half(), labels)


def test_an_image_that_cannot_be_read_is_told_and_ends_nothing(
    folder: AnnotatedFolder, tiny_denoiser: Denoiser
) -> None:
    (folder.path / "0.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((16, 20, 3), np.uint8)).save(folder.path / "7.png")
    folder.refresh()
    told: list[dict[str, Any]] = []
    watcher = Watcher(folder, DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[1, 2]), told.append)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    watcher.opened("7.png")
    _wait(lambda: {m["name"] for m in told if m["kind"] == "refused"} == {"0.png", "7.png"})
    _wait(lambda: any(m["kind"] == "validation" for m in told))
    assert watcher.ends_well()
    thread.join()

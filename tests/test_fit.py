from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_unet
from PIL import Image

from generate import Denoiser, Schedule
from pipelines import Recipe
from pipelines.annotated import annotated_few
from pipelines.stages.fit import label_lines

Command = Callable[..., str]
FOUR = 'classes = ["ground", "square", "dot", "tree"]'


@pytest.fixture
def annotated(project: Path) -> Path:
    return project / "annotated"


def relabelled(annotated: Path, change: Callable[[np.ndarray], np.ndarray], images: int = 4) -> None:
    for i in range(images):
        mask = np.asarray(Image.open(annotated / f"{i}.mask.png"))
        Image.fromarray(change(mask).astype(np.uint8)).save(annotated / f"{i}.mask.png")


def refused(command: Command, project: Path, *settings: str, stage: str = "fit") -> str:
    """The one sentence with which a stage ends."""
    options = [word for setting in settings for word in ("--set", setting)]
    (line,) = command(stage, project / "recipe.toml", *options, code=2).splitlines()
    return line.removeprefix("datasetddpm: ")


def lines(project: Path, *settings: str) -> list[str]:
    recipe = Recipe.load(project / "recipe.toml", settings)
    return list(label_lines(recipe, annotated_few(recipe, (16, 16))))


def test_fit_tells_images_pixels_of_each_class_and_what_is_ignored(project: Path, command: Command) -> None:
    relabelled(project / "annotated", lambda mask: np.where(np.arange(16) > 14, 255, mask))
    said = command("fit", project / "recipe.toml")
    assert said.splitlines()[:4] == [
        f"fit: 4 images of 16x16 in {project / 'annotated'}, 6.2% of the pixels ignored",
        "  ground        612 pixels  59.8%, in 4 images",
        "  square        324 pixels  31.6%, in 4 images",
        "  dot            24 pixels   2.3%, in 4 images",
    ]
    assert "warning" not in said


def test_masks_of_0_and_255_are_explained(project: Path, annotated: Path, command: Command) -> None:
    relabelled(annotated, lambda mask: np.where(mask, 255, 0))
    assert refused(command, project) == (
        f"{annotated}: the masks hold 0 and 255 alone, and 255 is ignored, so that nothing but ground is labelled; "
        "write two classes as 0 and 1, or give them these colours in scheme.toml, [0, 0, 0] and [255, 255, 255]"
    )


def test_a_class_of_the_scheme_without_a_pixel_is_named(project: Path, annotated: Path) -> None:
    (annotated / "scheme.toml").write_text(FOUR)
    with pytest.raises(ValueError, match=r"no pixel is labelled tree; label some, or take it out of scheme\.toml"):
        lines(project)


def test_a_class_that_has_all_pixels_stops_fit(project: Path, annotated: Path, command: Command) -> None:
    relabelled(annotated, lambda mask: np.where(mask == 1, 1, 255))
    assert refused(command, project) == (
        f"{annotated}: all labelled pixels are square; label pixels of the others, too: ground, dot"
    )


def test_a_class_that_is_in_fewer_than_two_images_is_warned_of(project: Path, annotated: Path) -> None:
    relabelled(annotated, lambda mask: np.where(mask == 2, 0, mask), images=3)
    rare = "fit: warning: these classes are in fewer than two images, and hardly learnt: dot in {}"
    assert lines(project)[-1].startswith(
        rare.format("1 (an image counts from interpreter.min_class_pixels = 1 pixels on")
    )
    assert lines(project, "interpreter.images=3")[-1].startswith(rare.format("0 "))
    assert lines(project, "interpreter.min_class_pixels=7")[-1].startswith(rare.format("0 "))


def test_the_classes_of_a_recipe_need_not_all_be_there_and_the_ignored_one_is_never_missed(project: Path) -> None:
    *_, last = lines(project, 'classes.names=["nothing", "square", "dot", "tree"]', "classes.ignore=0")
    assert "hardly learnt: tree in 0 (" in last


def test_a_folder_of_which_some_images_have_masks_is_used(project: Path, annotated: Path, command: Command) -> None:
    for i in (0, 3):
        (annotated / f"{i}.mask.png").unlink()
    said = command("fit", project / "recipe.toml")
    assert f"{annotated}: 2 of 4 images have masks; the other 2 are not used\n" in said
    assert "made an interpreter of 3 members, from 2 images" in said


def test_held_out_images_need_not_show_every_class(finished: Path, command: Command) -> None:
    held_out = finished / "held out"
    held_out.mkdir()
    for name in ("scheme.toml", "1.png", "2.png"):
        (held_out / name).write_bytes((finished / "annotated" / name).read_bytes())
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(held_out / "1_mask.png")
    said = command("evaluate", finished / "recipe.toml", "--set", f'paths.held_out="{held_out}"')
    assert f"{held_out}: 1 of 2 images have masks; the other, 2.png, is not used\n" in said
    assert "scores on 1 held-out images" in said


def test_images_that_were_sampled_from_another_model_are_told(project: Path, command: Command) -> None:
    command("sample", project / "recipe.toml", "-n", "2")
    samples = sorted((project / "out" / "samples").glob("*.png"))
    for sample, number in zip(samples, ("1", "2"), strict=True):
        sample.replace(project / "annotated" / f"{number}.png")
    assert "another model" not in command("fit", project / "recipe.toml")
    torch.manual_seed(1)
    Denoiser(make_unet(), Schedule.named("cosine", "v_prediction"), digest="other").save_pretrained(project / "model")
    said = command("fit", project / "recipe.toml")
    assert "warning: 2 of 4 images, as 1, were sampled from another model" in said

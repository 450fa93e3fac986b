"""Stage sample: images to annotate, none of which is lost or comes into a dataset."""

import shutil
from pathlib import Path

import pytest
from conftest import content

from pipelines import Recipe, RecipeError
from pipelines.sections import TO_ANNOTATE
from pipelines.stages.sample import COUNT, provenance, sample_images


def sampled(project: Path, *settings: str) -> bool:
    """Whether images were made."""
    return sample_images(Recipe.load(project / "recipe.toml", settings)).fresh


def test_images_to_annotate_come_from_a_range_that_no_dataset_grows_into_and_say_so(project):
    assert sampled(project)
    images = sorted((project / "out" / "samples").glob("*.png"))
    assert [image.name for image in images] == [f"{TO_ANNOTATE + i}.png" for i in range(COUNT)]
    said = provenance(images[3])
    assert said is not None
    assert said.pop("denoiser")
    assert said == {"generate": {"run_seed": 0, "solver": "dpmsolver++", "steps": 3}, "seed": TO_ANNOTATE + 3}
    assert not sampled(project, "generate.samples=50000", "generate.portion=0.5")


def test_images_that_have_masks_are_not_overwritten_by_others(project, command):
    sampled(project)
    folder = project / "out" / "samples"
    mask = folder / f"{TO_ANNOTATE}.mask.png"
    shutil.copy(project / "annotated" / "0.mask.png", mask)
    before = content(folder)
    assert not sampled(project)
    with pytest.raises(RecipeError, match=rf"{TO_ANNOTATE}\.png in .*samples have masks beside them"):
        sampled(project, "generate.steps=4")
    said = command("sample", project / "recipe.toml", "--set", "generate.run_seed=1", code=2)
    assert "move images and masks to paths.annotated, or name another paths.out" in " ".join(said.split())
    assert content(folder) == before
    mask.unlink()
    assert sampled(project, "generate.steps=4")


def test_an_image_of_another_origin_says_nothing(project):
    assert provenance(project / "annotated" / "0.png") is None
    assert provenance(project / "recipe.toml") is None

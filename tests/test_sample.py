"""Stage sample: images to annotate, none of which is lost or comes into a dataset."""

import shutil
from pathlib import Path

import pytest
from conftest import content

from pipelines import Recipe, RecipeError
from pipelines.sections.generate import TO_ANNOTATE
from pipelines.stages.fit import fit
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


def test_chosen_images_are_those_of_their_seeds_and_the_same_each_time(project, tmp_path):
    recipe = Recipe.load(project / "recipe.toml")
    sample_images(recipe, count=24)
    plain = {path.name: path.read_bytes() for path in (project / "out" / "samples").glob("*.png")}
    picked = _chosen(recipe, 6, 24)
    assert len(picked) == 6
    assert picked.items() <= plain.items()
    assert sorted(picked) != sorted(plain)[:6]
    assert not sample_images(recipe, count=6, of=24).fresh
    assert _chosen(Recipe.load(project / "recipe.toml", (f'paths.out="{tmp_path}/again"',)), 6, 24) == picked


def test_what_is_annotated_changes_the_choice(project):
    recipe = Recipe.load(project / "recipe.toml")
    (project / "annotated").rename(project / "aside")
    before = _chosen(recipe, 3, 12)
    (project / "annotated").mkdir()
    (project / "annotated" / "scheme.toml").write_bytes((project / "aside" / "scheme.toml").read_bytes())
    for name, image in before.items():
        (project / "annotated" / name).write_bytes(image)
        shutil.copy(project / "aside" / "0.mask.png", project / "annotated" / name.replace(".png", ".mask.png"))
    after = _chosen(recipe, 3, 12)
    assert not before.keys() & after.keys()
    fit(recipe)
    assert sample_images(recipe, count=3, of=12).fresh, "an interpreter says what it does not know"


def test_more_cannot_be_chosen_than_there_are(project, command):
    said = command("sample", project / "recipe.toml", "-n", "40", "--of", "20", code=2)
    assert "40 images cannot be chosen among 20" in " ".join(said.split())


def _chosen(recipe: Recipe, count: int, of: int) -> dict[str, bytes]:
    """Names and bytes of what is chosen."""
    outcome = sample_images(recipe, count=count, of=of)
    assert isinstance(outcome.where, Path)
    return {path.name: path.read_bytes() for path in outcome.where.glob("*.png")}


def test_an_image_of_another_origin_says_nothing(project):
    assert provenance(project / "annotated" / "0.png") is None
    assert provenance(project / "recipe.toml") is None

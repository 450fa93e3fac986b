import json
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published import SMALL, write_small_mae, write_state_dict
from typer.testing import CliRunner

from generate.guided_flags import parse_flags
from pipelines import Recipe
from pipelines.cli import app
from pipelines.units.sources import image_size, named_weights

RECIPES = Path(str(files("pipelines").joinpath("recipes")))
CLASSES = {"bedroom_28": 29, "ffhq_34": 34, "cat_15": 15, "horse_21": 21, "celeba_19": 19, "ade_bedroom_30": 30}
PUBLISHED = sorted(path for kind in ("datasetddpm", "ddpm_seg") for path in (RECIPES / kind).glob("*.toml"))


def test_there_is_a_recipe_for_every_published_setting():
    assert {path.stem for path in PUBLISHED if path.parent.name == "ddpm_seg"} == set(CLASSES)
    assert {path.stem for path in PUBLISHED if path.parent.name == "datasetddpm"} == set(list(CLASSES)[:4])


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_published_recipe_names_its_classes_its_flags_and_the_published_features(path):
    recipe = Recipe.load(path)
    assert recipe.classes is not None
    assert len(recipe.classes.scheme) == CLASSES[path.stem]
    assert isinstance(recipe.paths.denoiser, Path)
    assert recipe.denoiser.flags == recipe.paths.denoiser.stem
    assert parse_flags(recipe.paths.denoiser.stem).image_size == 256
    assert recipe.makes_dataset == (path.parent.name == "datasetddpm")
    settings = recipe.interpreter
    assert (settings.steps, settings.blocks, settings.fitting.members) == ([50, 150, 250], [5, 6, 7, 8, 12], 10)
    network = recipe.train.network
    assert (network.encoder, network.output_stride, network.variant) == ("resnet101", 8, "v3")


@pytest.mark.parametrize("kind", ["swav", "swav_w2", "mae"])
@pytest.mark.parametrize("name", CLASSES)
def test_a_published_recipe_reads_another_source_by_one_key(name, kind):
    recipe = Recipe.load(f"ddpm_seg/{name}", (f"interpreter.features={kind}",))
    assert recipe.interpreter.sources == [kind]
    assert not recipe.interpreter.reads_denoiser
    assert image_size(recipe) == (256, 256)
    assert isinstance(recipe.paths.denoiser, Path)
    (weights,) = named_weights(recipe).values()
    assert weights == Path.cwd() / "checkpoints" / kind / f"{recipe.paths.denoiser.stem}.pth"
    assert (recipe.interpreter.upsampling, recipe.interpreter.layers) == ("bilinear", {})


FLAGS = " ".join(f"--{name} {value}" for name, value in SMALL.items())


@pytest.fixture
def published_files(tmp_path, monkeypatch):
    """The published layout, at a small size: a state_dict, and folders of images at twice the model's size."""
    monkeypatch.chdir(tmp_path)
    Path("checkpoints/ddpm").mkdir(parents=True)
    write_state_dict(Path("checkpoints/ddpm/lsun_bedroom.pt"), SMALL, scale=0.1)
    rng = np.random.default_rng(0)
    for part in ("ddpm", "real/train", "real/test"):
        folder = Path("datasets/bedroom_28") / part
        folder.mkdir(parents=True)
        for i in range(2):
            mask = np.zeros((32, 32), dtype=np.uint8)
            mask[:, 10:20], mask[:, 20:] = 1, 17
            image = rng.integers(0, 60, (32, 32, 3), np.uint8) + mask[..., None] * 10
            Image.fromarray(image).save(folder / f"{i}.png")
            np.save(folder / f"{i}.npy", mask)
    return tmp_path


def test_with_the_published_files_in_place_a_recipe_runs_as_it_is(published_files):
    few = ("interpreter.blocks=[1, 2]", "interpreter.max_epochs=2", "interpreter.members=2", f"denoiser.flags={FLAGS}")
    overrides = [word for setting in few for word in ("--set", setting)]
    found = CliRunner().invoke(app, ["run", "ddpm_seg/bedroom_28", *overrides], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    (scores,) = json.loads(Path("runs/ddpm_seg/bedroom_28/scores/stage.json").read_text())["results"]["interpreter"]
    assert len(scores["iou"]) == 29
    assert [i for i, row in enumerate(scores["confusion"]) if sum(row)] == [1, 17]  # background is ignored


def test_with_the_published_files_in_place_a_recipe_reads_mae_and_needs_no_denoiser(published_files):
    shutil.rmtree("checkpoints/ddpm")
    Path("checkpoints/mae").mkdir()
    write_small_mae(Path("checkpoints/mae/lsun_bedroom.pth"))
    sizes = ("interpreter.image_size=16", "interpreter.mae_heads=2", "interpreter.layers.mae=[0, 1, 2]")
    few = ("interpreter.features=mae", "interpreter.max_epochs=2", "interpreter.members=2", *sizes)
    overrides = [word for setting in few for word in ("--set", setting)]
    found = CliRunner().invoke(app, ["run", "ddpm_seg/bedroom_28", *overrides], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert Path("runs/ddpm_seg/bedroom_28/scores/stage.json").is_file()

"""What `train` and `evaluate` are given by mistake: one sentence that names it, exit code 2, and nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import content, take_as_written
from PIL import Image

import deeplab
from deeplab import Trainee
from pipelines import Recipe
from pipelines.record import CHECKPOINT, part_of
from pipelines.training.history import History
from pipelines.training.plan import runs

Command = Callable[..., str]
CLASSES = 'classes.names=["sky", "sea", "sun"]'


def refused(command: Command, project: Path, stage: str, *overrides: str) -> str:
    """The sentence of a stage that ends with exit code 2, having written nothing."""
    before, settings = content(project), [argument for override in overrides for argument in ("--set", override)]
    (said,) = command(stage, project / "recipe.toml", *settings, code=2).splitlines()
    assert content(project) == before
    return said.removeprefix("datasetddpm: ")


def forget(project: Path, stage: str) -> None:
    """So that the stage is not found, but made."""
    for record in (project / "out" / stage).rglob("stage.json"):
        record.unlink()


@pytest.fixture
def untrained(finished: Path) -> Path:
    """A project whose networks are to be trained again."""
    forget(finished, "deeplab")
    return finished


def test_the_unharmed_project_is_whole(finished: Path, command: Command) -> None:
    assert "found 2 DeepLabV3+ networks" in command("train", finished / "recipe.toml")


# ------------------------------------------------------------------------------------------------------------ classes


def test_train_names_classes_of_the_recipe_that_the_shards_do_not_have(untrained: Path, command: Command) -> None:
    sentence = refused(command, untrained, "train", CLASSES, "train.baseline=false")
    assert sentence.startswith("[classes] has the classes sky, sea, sun; the shards have ground, square, dot: ")


def test_train_names_annotated_images_of_other_classes_than_the_shards(untrained: Path, command: Command) -> None:
    scheme = untrained / "annotated" / "scheme.toml"
    scheme.write_text(scheme.read_text().replace("dot", "disc"))
    sentence = refused(command, untrained, "train")
    assert sentence.startswith("paths.annotated has the classes ground, square, disc; the shards have ")


def test_evaluate_names_held_out_images_of_other_classes_than_the_interpreter(finished: Path, command: Command) -> None:
    sentence = refused(command, finished, "evaluate", CLASSES)
    assert sentence == (
        "paths.held_out has the classes sky, sea, sun; the interpreter was fitted on ground, square, dot: name other "
        "images, or run `datasetddpm fit` again"
    )


def other_folder(project: Path, mask: np.ndarray) -> str:
    """A folder of one annotated image, which has this mask."""
    folder = project / "others"
    folder.mkdir()
    for name in ("scheme.toml", "1.png"):
        (folder / name).write_bytes((project / "annotated" / name).read_bytes())
    Image.fromarray(mask).save(folder / "1.mask.png")
    return str(folder)


def test_train_names_a_validation_image_with_a_class_out_of_range(untrained: Path, command: Command) -> None:
    folder = other_folder(untrained, np.full((16, 16), 7, dtype=np.uint8))
    sentence = refused(command, untrained, "train", f'paths.validation="{folder}"')
    assert sentence == f"{folder}: the mask of 1.png has class 7; scheme.toml has 0 to 2, and 255 is ignored"


def test_evaluate_names_a_held_out_image_with_a_class_out_of_range(finished: Path, command: Command) -> None:
    folder = other_folder(finished, np.full((16, 16), 7, dtype=np.uint8))
    sentence = refused(command, finished, "evaluate", f'paths.held_out="{folder}"')
    assert sentence == f"{folder}: the mask of 1.png has class 7; scheme.toml has 0 to 2, and 255 is ignored"


def test_evaluate_says_that_held_out_images_have_no_labels(finished: Path, command: Command) -> None:
    folder = other_folder(finished, np.full((16, 16), 255, dtype=np.uint8))
    sentence = refused(command, finished, "evaluate", f'paths.held_out="{folder}"')
    assert sentence.startswith(f"paths.held_out, {folder}, has no labelled pixel")


@pytest.mark.parametrize(("stage", "key"), [("train", "validation"), ("evaluate", "held_out")])
def test_a_folder_of_images_that_is_not_there_is_named(untrained: Path, command: Command, stage: str, key: str) -> None:
    sentence = refused(command, untrained, stage, f'paths.{key}="{untrained / "nowhere"}"')
    assert sentence == f"{untrained / 'nowhere'} does not exist; annotated images are needed there"


# ------------------------------------------------------------------------------------------------------------- shards


def test_train_says_that_a_dataset_folder_is_empty(untrained: Path, command: Command) -> None:
    (untrained / "empty").mkdir()
    sentence = refused(command, untrained, "train", f'paths.dataset="{untrained / "empty"}"')
    assert sentence.startswith(f"{untrained / 'empty'} holds no dataset.json; run `datasetddpm generate ")


def lose_the_shards(dataset: Path) -> None:
    for path in dataset.glob("shard-*"):
        path.unlink()


def lose_a_tar(dataset: Path) -> None:
    (dataset / "shard-000001.tar").unlink()


def flip_a_bit(dataset: Path) -> None:
    content = bytearray((dataset / "shard-000001.tar").read_bytes())
    content[700] ^= 1
    (dataset / "shard-000001.tar").write_bytes(content)


def cut_a_tar(dataset: Path) -> None:
    content = (dataset / "shard-000001.tar").read_bytes()
    (dataset / "shard-000001.tar").write_bytes(content[:-1024])


def cut_a_report(dataset: Path) -> None:
    content = (dataset / "shard-000001.json").read_bytes()
    (dataset / "shard-000001.json").write_bytes(content[:100])


def swap_a_report(dataset: Path) -> None:
    (dataset / "shard-000001.json").write_bytes((dataset / "shard-000002.json").read_bytes())


def cut_the_description(dataset: Path) -> None:
    (dataset / "dataset.json").write_text("{")


def lose_the_description(dataset: Path) -> None:
    (dataset / "dataset.json").unlink()


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lose_the_shards, "dataset holds no shards with samples; generate a dataset there first"),
        (lose_a_tar, "shard-000001.tar is missing, its report is there; run `datasetddpm generate` with --repair"),
        (flip_a_bit, "shard-000001.tar is not what was written: its sha256 differs from the report's; run "),
        (cut_a_tar, "shard-000001.tar has "),
        (cut_a_report, "shard-000001.json is no report of a shard; run "),
        (swap_a_report, "shard-000001.json is the report of another unit or dataset; run "),
        (cut_the_description, "dataset.json does not describe a dataset"),
        (lose_the_description, "dataset holds no dataset.json; run `datasetddpm generate "),
    ],
)
def test_train_names_what_is_wrong_with_a_dataset(
    untrained: Path, command: Command, harm: Callable[[Path], None], sentence: str
) -> None:
    harm(untrained / "out" / "dataset")
    assert sentence in refused(command, untrained, "train")


# --------------------------------------------------------------------------------------------- networks in the making


def interrupted(project: Path, network: deeplab.DeepLab, source: int = 0, **others: Any) -> Path:
    """The checkpoint of this network, in a training that was stopped in the middle; `others` are its own settings."""
    run = runs(Recipe.load(project / "recipe.toml"), ["synthetic", "annotated"])[source]
    part = part_of(run.folder, run.inputs)
    part.mkdir()
    inputs = {**run.inputs, "train": {**run.inputs["train"], **others}}
    History.start().write(part, inputs, Trainee(network, run.optimisation))
    return part / CHECKPOINT


def test_train_refuses_a_checkpoint_of_another_architecture(untrained: Path, command: Command) -> None:
    checkpoint = interrupted(untrained, deeplab.build(3, encoder="resnet18"))
    sentence = refused(command, untrained, "train")
    assert sentence.startswith(f"{checkpoint.parent}: the checkpoint is of a network of another architecture: ")
    assert sentence.endswith("; remove that folder to train anew")


def test_train_finds_the_wrong_checkpoint_of_its_last_network_before_it_trains_the_first(
    untrained: Path, command: Command
) -> None:
    checkpoint = interrupted(untrained, deeplab.build(3, encoder="resnet18"), source=1)
    assert refused(command, untrained, "train").startswith(f"{checkpoint.parent}: the checkpoint is of a network of ")


def test_train_refuses_a_checkpoint_of_other_settings_and_names_the_first(untrained: Path, command: Command) -> None:
    network = deeplab.load(untrained / "out" / "deeplab" / "synthetic-seed0")
    checkpoint = interrupted(untrained, network, batch_size=6)
    assert refused(command, untrained, "train") == (
        f"{checkpoint} is of a training of another recipe: train.batch_size was 6, is 4; remove it to train anew, "
        "or restore the recipe"
    )


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("nothing")


def write_numbers(path: Path) -> None:
    torch.save([1, 2], path)


def write_objects(path: Path) -> None:
    torch.save({"digest": Path("a")}, path)


@pytest.mark.parametrize("harm", [cut_short, empty, write_text, write_numbers, write_objects])
def test_train_refuses_a_file_that_is_no_checkpoint(
    untrained: Path, command: Command, harm: Callable[[Path], None]
) -> None:
    checkpoint = interrupted(untrained, deeplab.load(untrained / "out" / "deeplab" / "synthetic-seed0"))
    harm(checkpoint)
    assert refused(command, untrained, "train") == (
        f"{checkpoint} is no checkpoint of a training; remove it to train anew"
    )


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "tu-resnet10t"])
def test_train_says_that_encoder_weights_are_neither_here_nor_to_be_had(
    untrained: Path, command: Command, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(untrained / "nothing cached"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    settings = (f'train.encoder="{encoder}"', 'train.encoder_weights="imagenet"')
    assert refused(command, untrained, "train", *settings) == (
        f"the imagenet weights of {encoder} are not on this machine and could not be downloaded; connect it to "
        "the network once, name a local file of them, or leave encoder_weights out, to train from scratch"
    )
    lasting = ("--set", settings[0], "--set", "train.baseline=false")
    assert "made" in command("train", untrained / "recipe.toml", *lasting)


def test_train_names_a_file_of_encoder_weights_that_are_another_encoders(untrained: Path, command: Command) -> None:
    file = untrained / "weights.pth"
    torch.save({"conv1.weight": torch.zeros(2)}, file)
    sentence = refused(command, untrained, "train", f'train.encoder_weights="{file}"')
    assert sentence.startswith(f"{file} does not hold the weights of the encoder mobilenet_v2: it lacks ")


# -------------------------------------------------------------------------------------------------- networks that are


def lose_the_record(network: Path) -> None:
    (network / "stage.json").unlink()


def cut_the_record(network: Path) -> None:
    (network / "stage.json").write_text("{")


def cut_the_weights(network: Path) -> None:
    weights = network / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def widen_the_network(network: Path) -> None:
    config = json.loads((network / "config.json").read_text())
    config["architecture"]["network"]["decoder_channels"] += 1
    (network / "config.json").write_text(json.dumps(config))


def rename_a_class(network: Path) -> None:
    config = json.loads((network / "config.json").read_text())
    config["architecture"]["class_names"] = ["ground", "square", "disc"]
    (network / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lose_the_record, "annotated-seed0 holds no network that was trained to its end; run `datasetddpm train "),
        (cut_the_record, "annotated-seed0/stage.json is no record of a stage; remove it, and run that stage again"),
        (cut_the_weights, "model.safetensors is cut short, or of another network than config.json describes"),
        (widen_the_network, "model.safetensors is cut short, or of another network than config.json describes"),
        (rename_a_class, "annotated-seed0 is of a network of the classes ground, square, disc; the held-out images"),
    ],
)
def test_evaluate_names_a_network_that_does_not_fit_before_it_predicts_anything(
    finished: Path, command: Command, harm: Callable[[Path], None], sentence: str
) -> None:
    harm(finished / "out" / "deeplab" / "annotated-seed0")
    take_as_written(finished / "out" / "deeplab" / "annotated-seed0")
    assert sentence in refused(command, finished, "evaluate")


def lose_the_interpreter(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def cut_the_members(folder: Path) -> None:
    (folder / "interpreter.safetensors").write_bytes((folder / "interpreter.safetensors").read_bytes()[:-100])


def cut_the_noise(folder: Path) -> None:
    (folder / "features.safetensors").write_bytes(b"")


def cut_the_interpreter(folder: Path) -> None:
    (folder / "interpreter.json").write_text("{")


def of_another_denoiser(folder: Path) -> None:
    record = json.loads((folder / "features.json").read_text())
    (folder / "features.json").write_text(json.dumps({**record, "denoiser": "f" * 64}))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lose_the_interpreter, "interpreter holds no interpreter; fit one first"),
        (cut_the_members, "interpreter.safetensors is cut short or damaged; fit the interpreter again"),
        (cut_the_noise, "features.safetensors is cut short or damaged; fit the interpreter again"),
        (cut_the_interpreter, "interpreter.json is cut short or damaged; fit the interpreter again"),
        (of_another_denoiser, "was fitted on denoiser ffffffffffff, this one is "),
    ],
)
def test_evaluate_names_an_interpreter_that_does_not_fit(
    finished: Path, command: Command, harm: Callable[[Path], None], sentence: str
) -> None:
    harm(finished / "out" / "interpreter")
    take_as_written(finished / "out" / "interpreter")
    assert sentence in refused(command, finished, "evaluate")


def test_evaluate_says_that_the_recipe_names_no_held_out_images(finished: Path, command: Command) -> None:
    recipe = finished / "recipe.toml"
    recipe.write_text("".join(line for line in recipe.read_text().splitlines(True) if not line.startswith("held_out")))
    assert refused(command, finished, "evaluate") == (
        "paths.held_out is missing; it names the annotated images to evaluate on"
    )

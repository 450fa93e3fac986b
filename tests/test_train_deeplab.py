"""The stage itself; kills are real ones, of the command in a process of its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import begun, commit, killed_in_training
from PIL import Image

from deeplab import NetworkError, Trainee, build
from label import AnnotationError, Scheme
from pipelines import Recipe
from pipelines.dataset.shards import Sample
from pipelines.errors import DatasetError, RecipeError
from pipelines.record import CHECKPOINT, Record, part_of
from pipelines.stages.train import train
from pipelines.training.history import History
from pipelines.training.plan import runs

SCHEME = Scheme(("ground", "square", "dot"))


@pytest.fixture
def made(project: Path) -> Path:
    """A project with a dataset of 3 shards, 22 samples in all."""
    folder, rng = project / "out" / "dataset", np.random.default_rng(0)
    begun(folder, SCHEME)
    for unit, seeds in enumerate((range(4), range(4, 12), range(12, 22))):
        samples = []
        for seed in seeds:
            mask = rng.integers(0, 3, (16, 16), dtype=np.uint8)
            image = np.stack([mask * 90] * 3, axis=-1) + rng.integers(0, 40, (16, 16, 3), dtype=np.uint8)
            samples.append(Sample(seed, image, mask, seed / 100, {}, rng.random((16, 16)).astype(np.float32)))
        commit(folder, unit, samples, SCHEME)
    return project


def recipe_of(project: Path, **changes: Any) -> Recipe:
    settings = {"steps": 8, "baseline": False, "checkpoint_every": 2, **changes}
    settings = {key: value for key, value in settings.items() if value is not None}
    return Recipe.load(project / "recipe.toml", overrides(project, settings))


def overrides(project: Path, settings: dict[str, Any]) -> tuple[str, ...]:
    validation = f'paths.validation="{project / "annotated"}"'
    return (validation, *(f"train.{key}={json.dumps(value)}" for key, value in settings.items()))


def results(project: Path, out: str = "out", source: str = "synthetic") -> dict[str, Any]:
    return json.loads((project / out / "deeplab" / f"{source}-seed0" / "stage.json").read_text())["results"]


def twin(project: Path, name: str) -> str:
    """An override that puts what is made into another folder, beside a copy of the dataset."""
    shutil.copytree(project / "out" / "dataset", project / name / "dataset")
    return f'paths.out="{project / name}"'


def test_a_training_killed_at_any_moment_ends_with_the_losses_and_the_curve_of_one_that_was_not(made: Path) -> None:
    changes = {"steps": 40, "baseline": False, "checkpoint_every": 3, "ema_decay": 0.9, "accumulate": 2}
    train(Recipe.load(made / "recipe.toml", overrides(made, changes)))
    elsewhere = (*overrides(made, changes), twin(made, "killed"))
    (run,) = runs(Recipe.load(made / "recipe.toml", elsewhere), ["synthetic"])
    killed_in_training(made / "recipe.toml", *elsewhere, run=run, delays=(0.0, 0.3))  # 0.3: in the middle of an epoch
    train(Recipe.load(made / "recipe.toml", elsewhere))
    undisturbed, killed = results(made), results(made, "killed")
    assert len(undisturbed["validation"]) == 14
    assert killed == undisturbed
    assert [path.name for path in run.folder.parent.iterdir()] == ["synthetic-seed0"], "nothing of the kills stays"
    assert not (run.folder / CHECKPOINT).exists()


def test_two_workers_on_ray_have_the_losses_of_one_for_fifty_steps(made: Path, ray_cluster: object) -> None:
    changes = {"steps": 50, "checkpoint_every": 25, "aspp_dropout": 0.1, "augmentation": "strong"}
    changes["learning_rate"] = 1e-5  # at 1e-3 a change of 1e-7 in the weights grows to 1e-2 within 20 steps
    train(recipe_of(made, **changes))
    elsewhere = twin(made, "two")
    settings = {"baseline": False, "workers": 2, **changes}
    train(Recipe.load(made / "recipe.toml", (*overrides(made, settings), elsewhere)))
    one, two = results(made), results(made, "two")
    assert len(one["losses"]) == 50
    assert max(abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True)) < 1e-4
    assert [step for step, _ in two["validation"]] == [25, 50]


def test_epochs_are_the_same_number_of_steps_whatever_the_workers(made: Path) -> None:
    train(recipe_of(made, epochs=2.0, checkpoint_every=None))
    found = results(made)
    assert len(found["losses"]) == 11  # 2 * 22 samples in batches of 4
    assert [step for step, _ in found["validation"]] == [6, 11]  # an epoch is 5.5 steps


def test_the_best_network_by_validation_is_the_one_that_is_kept(made: Path) -> None:
    train(recipe_of(made, steps=6, checkpoint_every=1, learning_rate=0.3))
    curve = dict(results(made)["validation"])
    best = results(made)["best_step"]
    assert curve[best] == max(curve.values())
    train(
        Recipe.load(
            made / "recipe.toml",
            (
                *overrides(made, {"steps": 6, "checkpoint_every": 1, "learning_rate": 0.3, "baseline": False}),
                twin(made, "again"),
            ),
        )
    )
    for name in ("model.safetensors", "config.json"):
        first, second = (made / out / "deeplab" / "synthetic-seed0" / name for out in ("out", "again"))
        assert first.read_bytes() == second.read_bytes()


def test_a_second_run_finds_the_networks(made: Path) -> None:
    assert train(recipe_of(made, steps=2)).fresh
    assert not train(recipe_of(made, steps=2, workers=2)).fresh, "the number of workers changes no result"
    assert train(recipe_of(made, steps=3)).fresh


def test_a_damaged_shard_is_named_before_any_step(made: Path) -> None:
    (made / "out" / "dataset" / "shard-000001.tar").unlink()
    with pytest.raises(DatasetError, match=r"shard-000001.tar is missing, its report is there; .* --repair"):
        train(recipe_of(made, steps=2))
    assert not (made / "out" / "deeplab").exists()
    outcome = train(recipe_of(made, steps=2, corrupt_shards="skip"))
    assert "1 corrupt shards left out" in outcome.clause
    assert results(made)["skipped_shards"] == 1


def test_tensorboard_gets_loss_speed_and_validation(made: Path) -> None:
    train(recipe_of(made, steps=2))
    events = b"".join(p.read_bytes() for p in (made / "out" / "deeplab" / "synthetic-seed0" / "tensorboard").iterdir())
    for name in (b"train/loss", b"speed/samples_per_second", b"speed/share_of_time_waiting", b"validation/mean_iou"):
        assert name in events


def interrupted(made: Path) -> Path:
    """The checkpoint of a training that was stopped in the middle."""
    (run,) = runs(recipe_of(made), ["synthetic"])
    folder = part_of(run.folder, run.inputs)
    folder.mkdir(parents=True)
    trainee = Trainee(build(3, encoder="resnet18"), run.optimisation)
    History.start().write(folder, run.inputs, trainee)
    return folder / CHECKPOINT


def test_a_checkpoint_of_another_architecture_is_refused(made: Path) -> None:
    checkpoint = interrupted(made)
    with pytest.raises(
        RecipeError, match=r"of a network of another architecture: .*; remove that folder to train anew"
    ):
        train(recipe_of(made))
    assert checkpoint.is_file()


def test_a_changed_recipe_trains_beside_the_finished_network_which_comes_back_with_the_recipe(made: Path) -> None:
    checkpoint = interrupted(made)
    network = made / "out" / "deeplab" / "synthetic-seed0"
    assert train(recipe_of(made, steps=2)).fresh
    assert train(recipe_of(made, steps=3)).fresh
    assert not train(recipe_of(made, steps=2)).fresh
    assert Record.read(network).inputs["train"]["steps"] == 2
    assert not train(recipe_of(made, steps=3)).fresh
    assert Record.read(network).inputs["train"]["steps"] == 3
    assert checkpoint.is_file(), "a training of other settings was not disturbed"


def test_a_checkpoint_that_is_cut_short_is_said_so(made: Path) -> None:
    checkpoint = interrupted(made)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(RecipeError, match="is no checkpoint of a training; remove it"):
        train(recipe_of(made))


def test_classes_of_the_shards_must_be_those_of_the_recipe(made: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"\[classes\] has the classes sky, sea, sun; the shards have ground, square, dot"
    ):
        train(
            Recipe.load(
                made / "recipe.toml", (*overrides(made, {"baseline": False}), 'classes.names=["sky", "sea", "sun"]')
            )
        )


def test_a_validation_folder_must_have_the_classes_of_the_shards(made: Path) -> None:
    scheme = made / "annotated" / "scheme.toml"
    scheme.write_text(scheme.read_text().replace("dot", "disc"))
    with pytest.raises(RecipeError, match=r"paths.validation has the classes ground, square, disc; the shards have"):
        train(recipe_of(made))


def test_a_validation_mask_with_a_class_out_of_range_is_named(made: Path) -> None:
    Image.fromarray(np.full((16, 16), 7, dtype=np.uint8)).save(made / "annotated" / "1.mask.png")
    with pytest.raises(AnnotationError, match=r"the mask of 1.png has class 7; .* 0 to 2"):
        train(recipe_of(made))


def test_an_empty_dataset_folder_is_said_so(project: Path) -> None:
    (project / "out" / "dataset").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"holds no dataset.json; generate a dataset there first"):
        train(recipe_of(project))


def test_batches_must_be_shared_evenly(made: Path) -> None:
    with pytest.raises(RecipeError, match="batch_size 4 cannot be shared evenly by 3 workers"):
        recipe_of(made, workers=3)


def test_a_loss_of_whole_batches_needs_one_worker(made: Path) -> None:
    with pytest.raises(RecipeError, match=r'loss "cross_entropy\+dice" is of a whole batch'):
        recipe_of(made, workers=2, loss="cross_entropy+dice")


def test_encoder_weights_that_cannot_be_had_end_before_any_step(made: Path) -> None:
    with pytest.raises(NetworkError, match=r"weights\.pth is no file; encoder_weights is a file"):
        train(recipe_of(made, encoder_weights=str(made / "weights.pth")))
    assert not (made / "out" / "deeplab").exists()


def test_another_file_of_encoder_weights_makes_another_network_whatever_it_is_called(made: Path) -> None:
    file = made / "weights.pth"
    for seed, fresh in ((0, True), (0, False), (1, True)):
        encoder = build(3, encoder="mobilenet_v2", encoder_depth=3, seed=seed).network.encoder
        torch.save(encoder.state_dict(), file)
        assert train(recipe_of(made, encoder_weights=str(file))).fresh == fresh
    moved = file.rename(made / "out" / "weights.pth")
    assert not train(recipe_of(made, encoder_weights=str(moved))).fresh


def test_a_recipe_without_a_dataset_trains_nothing_and_says_so(project: Path) -> None:
    recipe = project / "recipe.toml"
    head, _, rest = recipe.read_text().partition("[generate]")
    recipe.write_text(head + rest[rest.index("[cluster]") :])
    with pytest.raises(RecipeError, match=r"has no \[generate\], so there is no dataset to train on"):
        train(Recipe.load(recipe))

"""How far each stage of a run is, from its folders alone."""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import Recipe, progress
from pipelines.driver.tally import Failure, Tally
from pipelines.files.lease import leased
from pipelines.files.owner import Owner
from pipelines.progress import Pace
from pipelines.stages.overview import standings, standings_of
from pipelines.stages.state import Standing

Command = Callable[..., str]
NAMES = ["train-ddpm", "sample", "fit", "generate", "train", "evaluate", "report"]


def found(project: Path, *overrides: str) -> dict[str, Standing]:
    return {stage.stage: stage for stage in standings(Recipe.load(project / "recipe.toml", overrides))}


def test_a_project_without_a_run_lacks_all_but_what_its_folders_hold_already(project: Path) -> None:
    stages = found(project)
    assert list(stages) == NAMES
    assert [stage.state for stage in stages.values()] == ["not needed"] * 2 + ["missing"] * 5
    assert stages["train-ddpm"].note == "paths.denoiser is there"


def test_what_is_done_has_the_date_and_the_seconds_of_its_record(finished: Path) -> None:
    os.utime(finished / "out" / "interpreter" / "stage.json", (1e9, 1e9))
    stages = found(finished)
    assert [stages[name].state for name in NAMES[2:]] == ["done", "done", "done", "missing", "missing"]
    assert abs((stages["fit"].made or 0) - 1e9) < 5
    assert (stages["fit"].seconds or 0) > 0
    assert stages["generate"].note == "4 shards"
    assert stages["train"].note == "2 networks"


def test_a_stage_that_a_recipe_has_nothing_for_is_not_needed(project: Path) -> None:
    text = (project / "recipe.toml").read_text().replace("held_out", "validation")
    (project / "recipe.toml").write_text(text)
    assert {name: found(project)[name].note for name in ("evaluate", "report")} == dict.fromkeys(
        ("evaluate", "report"), "paths.held_out is not set"
    )
    (project / "recipe.toml").write_text(re.sub(r"\[generate\].*\[cluster\]", "[cluster]", text, flags=re.DOTALL))
    assert found(project)["generate"].note == "there is no [generate]"


def test_an_interrupted_training_says_how_far_it_came_and_how_long_the_rest_takes(project: Path) -> None:
    folder = project / "out" / "train-ddpm"
    folder.mkdir(parents=True)
    Pace(done=400, total=4200, noun="updates", before=300, seconds=50.0).write(folder)
    stage = found(project)["train-ddpm"]
    assert (stage.state, stage.note) == ("stopped", "400 of 4200 updates, about 31 min 40 s left")


def test_work_that_will_take_the_place_of_its_folder_is_found_beside_it(project: Path) -> None:
    folder = project / "out" / "interpreter.part-0123abcd"
    folder.mkdir(parents=True)
    Pace(10, 20, "batches", 0, 5.0).write(folder)
    assert found(project)["fit"].note == "10 of 20 batches, about 5 s left"


def test_a_network_that_was_not_begun_takes_as_long_as_the_others(finished: Path) -> None:
    network = finished / "out" / "deeplab" / "annotated-seed0"
    (network / "stage.json").unlink()
    Pace(3, 4, "steps", 2, 50.0).write(network)
    stage = found(finished, "train.baseline=true")["train"]
    assert stage.state == "stopped"
    assert stage.note == "1 of 2 networks, annotated-seed0: 3 of 4 steps, about 50 s left"


def test_a_stage_whose_folder_is_leased_is_under_way(project: Path) -> None:
    folder = project / "out" / "interpreter"
    folder.mkdir(parents=True)
    with leased(folder, beside=True):
        stage = found(project)["fit"]
        assert stage.state == "under way"
        assert stage.note.startswith(f"{Owner.this_process().name}, last heard of ")
    assert found(project)["fit"].state == "missing"


def test_a_dataset_of_which_units_are_missing_says_how_long_they_take_and_what_failed(finished: Path) -> None:
    folder = finished / "out" / "dataset"
    (folder / "shard-000002.json").unlink()
    tally = Tally(4, 22, started=time.time() - 60, failures=[Failure(2, "ArithmeticError: no", 3)])
    tally.add(33, 30)
    tally.write(folder)
    stage = found(finished)["generate"]
    assert stage.state == "stopped"
    assert stage.note == f"3 of 4 units, 1 failed, `datasetddpm status {folder}` says why, about 10 s left"


@pytest.mark.parametrize(
    ("stage", "file"),
    [("fit", "interpreter/interpreter.safetensors"), ("train", "deeplab/annotated-seed0/model.safetensors")],
)
def test_a_stage_of_which_a_file_is_damaged_or_gone_is_not_called_done(
    finished: Path, command: Command, stage: str, file: str
) -> None:
    path = finished / "out" / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    clause = f"{'/'.join(file.split('/')[-2:])} is damaged or gone"
    for _ in ("damaged", "gone"):
        assert (found(finished)[stage].state, found(finished)[stage].note) == ("damaged", clause)
        assert f"{clause}: `datasetddpm {stage} RECIPE`" in command("status", finished / "out")
        path.unlink(missing_ok=True)
    command(stage, finished / "recipe.toml")  # what the line names mends it
    assert found(finished)[stage].state == "done"


def test_a_dataset_of_which_a_shard_or_the_description_is_not_what_it_was_is_not_called_done(
    finished: Path, command: Command
) -> None:
    folder = finished / "out" / "dataset"
    shard = folder / "shard-000001.tar"
    shard.write_bytes(shard.read_bytes()[:512])
    stage = found(finished)["generate"]
    assert stage.state == "damaged"
    assert stage.note.startswith("shard-000001.tar has 512 bytes, its report says ")
    assert "`datasetddpm generate RECIPE --repair`" in command("status", finished / "out")
    assert "damaged:   shard-000001.tar has 512 bytes" in command("status", folder)
    (folder / "dataset.json").unlink()
    clause = f"{folder} holds shards, but no dataset.json; restore it, or remove the folder"
    assert found(finished)["generate"].note == clause
    assert command("status", finished / "out").splitlines()[1] == f"generate    damaged     {clause}"


def test_a_dataset_without_its_index_is_not_called_done_and_generate_writes_it(
    finished: Path, command: Command
) -> None:
    index, out = finished / "out" / "dataset" / "index.parquet", finished / "out"
    index.unlink()
    stage = found(finished)["generate"]
    assert (stage.state, stage.note, stage.options) == ("stopped", "index.parquet is missing", "")
    assert "index.parquet is missing: `datasetddpm generate RECIPE`" in command("status", out)
    assert "index:     index.parquet is missing; `datasetddpm generate` writes it" in command("status", out / "dataset")
    command("generate", finished / "recipe.toml")
    assert found(finished)["generate"].state == "done"
    assert "index" not in command("status", out / "dataset")


def test_a_dataset_that_was_imported_and_lacks_its_index_is_imported_again(finished: Path, command: Command) -> None:
    npz, more = finished / "x.npz", finished / "more"
    command("export", finished / "out" / "dataset", "--out", npz)
    command("import", "npz", npz, "--out", more)
    (more / "index.parquet").unlink()
    stage = found(finished, f'paths.dataset="{more}"')["generate"]
    assert (stage.state, stage.options) == ("stopped", None)
    assert stage.note == "index.parquet is missing; `datasetddpm import` writes it"
    command("import", "npz", npz, "--out", more)
    assert found(finished, f'paths.dataset="{more}"')["generate"].state == "done"
    assert "index" not in command("status", more)


def test_a_model_that_train_ddpm_made_and_that_was_removed_is_not_called_done(project: Path, command: Command) -> None:
    call = (project / "recipe.toml", "--set", f'paths.denoiser="{project / "trained"}"')
    command("train-ddpm", *call)
    assert found(project, call[2])["train-ddpm"].state == "done"
    shutil.rmtree(project / "trained")
    stage = found(project, call[2])["train-ddpm"]
    assert (stage.state, stage.note) == ("damaged", f"paths.denoiser, {project / 'trained'}, is gone")
    command("train-ddpm", *call)  # what the line names brings it back
    assert found(project, call[2])["train-ddpm"].state == "done"


def test_of_two_datasets_the_one_that_is_damaged_is_named(finished: Path) -> None:
    shard = finished / "out" / "dataset" / "shard-000001.tar"
    shard.write_bytes(b"")
    stage = found(finished, 'generate.images="both"')["generate"]
    assert (stage.state, stage.options) == ("damaged", " --repair")
    assert stage.note.startswith("dataset: shard-000001.tar has 0 bytes, ")


def test_a_runs_folder_tells_the_same_without_its_recipe(finished: Path) -> None:
    whole = {stage.stage: stage.state for stage in standings_of(finished / "out")}
    assert whole == {"fit": "done", "generate": "done", "train": "done", "evaluate": "missing", "report": "missing"}
    assert standings_of(finished) == []


def test_the_command_takes_a_recipe_a_runs_folder_and_a_datasets(finished: Path, command: Command) -> None:
    recipe, out = finished / "recipe.toml", finished / "out"
    lines = command("status", recipe, "--set", "train.seeds=[0, 1]").splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert re.fullmatch(r"fit         done        \d{4}-\d\d-\d\d \d\d:\d\d, \d+ s", lines[2])
    assert lines[4].startswith("train       stopped     2 of 4 networks, about ")
    assert lines[4].endswith(f" left: `datasetddpm train {recipe} --set 'train.seeds=[0, 1]'`")
    assert lines[5] == f"evaluate    missing     `datasetddpm evaluate {recipe} --set 'train.seeds=[0, 1]'`"
    assert "report      missing     `datasetddpm report RECIPE`" in command("status", out)
    assert "units:     4 of 4" in command("status", out / "dataset")


def test_a_shipped_recipe_is_known_by_its_name(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "fit         missing     `datasetddpm fit horse_21`" in command("status", "horse_21")


def test_a_model_of_the_hub_is_there_and_an_empty_folder_is_not_annotated(project: Path) -> None:
    text = (project / "recipe.toml").read_text()
    hub = re.sub(r"denoiser = .*\n|unlabelled = .*\n|annotated = .*\n", "", text)
    hub = hub.replace("[paths]", '[paths]\ndenoiser = "google/ddpm-cat-256"\nannotated = "few"')
    (project / "recipe.toml").write_text(hub)
    (project / "few").mkdir()
    assert [found(project)[name].state for name in ("train-ddpm", "sample")] == ["not needed", "missing"]


def test_a_training_counts_what_it_does_and_epochs(
    finished: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    said = command("train-ddpm", finished / "recipe.toml")  # 4 updates of 2 images, out of 4
    assert re.search(r"^train-ddpm: 4/4 updates, [\d.]+ updates/s, 0 s left, epoch 2\.0, loss ", said, re.MULTILINE)
    (finished / "out" / "deeplab" / "synthetic-seed0" / "stage.json").unlink()
    said = command("train", finished / "recipe.toml")  # 4 steps of 4 images, out of 19
    assert re.search(
        r"^train synthetic, seed 0: 4/4 steps, [\d.]+ steps/s, 0 s left, epoch 0\.8, loss ", said, re.MULTILINE
    )

"""What a training of a diffusion model shows: its sheets, and precision and recall of them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from making import noise_images
from PIL import Image
from tensorboardX.proto.event_pb2 import Event  # type: ignore[attr-defined]

from generate import Denoiser, sample
from generate.pictures import read_square
from label import DenoiserFeatures
from pipelines.errors import RecipeError
from pipelines.folders import ddpm_folder
from pipelines.quality.diversity import describe_images, precision_recall
from pipelines.recipe import Recipe
from pipelines.record import Record
from pipelines.stages.train_ddpm import train_ddpm
from pipelines.training.sheets import draw_sheet, figures_of, is_due

Command = Callable[..., str]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return noise_images(tmp_path, 60)


@pytest.mark.parametrize(("compared", "count"), [(8, 8), (40, 40), (100, 60)])
def test_the_figures_are_those_of_the_samples_and_of_images_evenly_over_all(
    tiny_denoiser: Denoiser, paths: list[Path], tmp_path: Path, compared: int, count: int
) -> None:
    found = draw_sheet(tiny_denoiser, paths, compared, 3, tmp_path)
    assert found is not None
    samples = np.concatenate(list(sample(tiny_denoiser, range(count), run_seed=0, steps=20, batch_size=count)))
    real = np.stack([read_square(paths[round(i * 59 / (count - 1))], 16) for i in range(count)])
    source = DenoiserFeatures(tiny_denoiser, steps=[50], blocks=[0, 1, 2, 3])
    wanted = precision_recall(describe_images(source, real), describe_images(source, samples))
    assert (found.precision, found.recall) == pytest.approx((wanted.precision, wanted.recall), abs=1.5 / count)
    assert found.compared == count
    assert figures_of(tmp_path, 3) == found


def test_a_sheet_shows_the_first_samples_whatever_is_compared(
    tiny_denoiser: Denoiser, paths: list[Path], tmp_path: Path
) -> None:
    sheets = []
    for compared in (None, 4, 40):
        (tmp_path / str(compared)).mkdir()
        draw_sheet(tiny_denoiser, paths, compared, 3, tmp_path / str(compared))
        sheets.append((tmp_path / str(compared) / "sheet-0000003.png").read_bytes())
    assert len(set(sheets)) == 1
    with Image.open(tmp_path / "None" / "sheet-0000003.png") as sheet:
        assert sheet.size == (8 * 16, 4 * 16)
    assert figures_of(tmp_path / "None", 3) is None


def test_ten_sheets_are_due_and_the_last_update_has_one(tmp_path: Path) -> None:
    due = [done for done in range(96) if is_due(done, 95, tmp_path)]
    assert due == [9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 95]
    (tmp_path / "sheet-0000095.png").touch()
    assert not is_due(95, 95, tmp_path)


def test_figures_come_to_the_record_the_log_and_the_last_line(project: Path, command: Command) -> None:
    target = ("--set", f'paths.denoiser="{project / "trained"}"')
    said = command("train-ddpm", project / "recipe.toml", *target, "--set", "train_ddpm.compared=4")
    folder = ddpm_folder(Recipe.load(project / "recipe.toml"))
    results = Record.read(folder).results
    assert results["compared"] == 4
    assert f"precision {results['precision']:.2f}, recall {results['recall']:.2f} of 4 samples and images" in said
    (log,) = (folder / "tensorboard").iterdir()
    logged = logged_values(log.read_bytes(), "quality/recall")
    assert [step for step, _ in logged] == [1, 2, 3, 4]
    assert logged[-1][1] == pytest.approx(results["recall"])
    assert "found" in command("train-ddpm", project / "recipe.toml", *target), "the model does not depend on it"


def logged_values(records: bytes, name: str) -> list[tuple[int, float]]:
    """Of a log whose records are length (8 bytes), checksum (4), event, checksum (4)."""
    found, place = [], 0
    while place < len(records):
        length = int.from_bytes(records[place : place + 8], "little")
        event = Event.FromString(records[place + 12 : place + 12 + length])
        found += [(event.step, value.simple_value) for value in event.summary.value if value.tag == name]
        place += length + 16
    return found


def test_too_few_images_to_compare_are_told_before_the_training(project: Path) -> None:
    (project / "few").mkdir()
    for name in ("0.png", "1.png", "2.png"):
        shutil.copy(project / "annotated" / name, project / "few")
    overrides = ('paths.denoiser="trained"', 'paths.unlabelled="few"', "train_ddpm.compared=4")
    recipe = Recipe.load(project / "recipe.toml", overrides)
    with pytest.raises(RecipeError, match=r"train_ddpm\.compared: paths\.unlabelled has 3 images, 4 are needed; leave"):
        train_ddpm(recipe)
    assert not (project / "out").exists()


def test_damaged_figures_are_named(tmp_path: Path) -> None:
    (tmp_path / "sheet-0000003.json").write_text('{"precision": NaN}')
    with pytest.raises(RecipeError, match=r"sheet-0000003\.json cannot be read .*; remove it, and run `datasetddpm tr"):
        figures_of(tmp_path, 3)

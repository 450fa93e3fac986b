"""A recipe's one key changed from the denoiser to a MAE and back: going back makes nothing anew."""

import json
from pathlib import Path

from conftest import content

from pipelines import Recipe
from pipelines.folders import dataset_folder, interpreter_folder, network_folder, scores_folder
from pipelines.record import Outcome, Record
from pipelines.stages.evaluate import evaluate
from pipelines.stages.fit import fit
from pipelines.stages.generate import generate
from pipelines.stages.train import train
from pipelines.units.builder import build, planned

MAE = Path(__file__).parent / "golden" / "mae_like.pth"
READ_BY_MAE = (
    "interpreter.features=mae",
    "interpreter.mae_heads=4",
    "interpreter.layers.mae=[0, 11]",
    f'paths.weights.mae="{MAE}"',
    "paths.dataset=out/dataset-mae",  # datasets of two interpreters are never mixed
)


def run(recipe: Recipe) -> list[Outcome]:
    """All stages from fit to evaluate; units that are missing are made in this process."""
    fitted, missing = fit(recipe), not (dataset_folder(recipe) / "index.parquet").exists()
    for unit in recipe.generate.units if missing else ():
        build(planned(recipe))(unit)
    return [fitted, generate(recipe), train(recipe), evaluate(recipe)]


def scores(recipe: Recipe) -> dict[str, list[float]]:
    content = json.loads((scores_folder(recipe) / "scores.json").read_text())
    return {source: [each["mean_iou"] for each in content[source]] for source in ("interpreter", "synthetic")}


def test_the_key_changed_and_changed_back_makes_two_runs_and_the_first_is_found_again(project: Path) -> None:
    of_denoiser, of_mae = (Recipe.load(project / "recipe.toml", keys) for keys in ((), READ_BY_MAE))
    run(of_denoiser)
    by_denoiser, dataset = scores(of_denoiser), content(project / "out" / "dataset")
    folders = [interpreter_folder(of_denoiser), network_folder(of_denoiser, "synthetic", 0), scores_folder(of_denoiser)]
    digests = [Record.read(folder).digest for folder in folders]

    run(of_mae)
    assert all(Record.read(folder).digest != digest for folder, digest in zip(folders, digests, strict=True))
    assert json.loads((folders[0] / "features.json").read_text())["kind"] == "mae"
    assert scores(of_mae)["interpreter"] != by_denoiser["interpreter"]

    assert [outcome.fresh for outcome in run(of_denoiser)] == [False] * 4
    assert scores(of_denoiser) == by_denoiser
    assert [Record.read(folder).digest for folder in folders] == digests
    assert content(project / "out" / "dataset") == dataset
    assert [outcome.fresh for outcome in run(of_mae)] == [False] * 4

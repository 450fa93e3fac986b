"""The stages of a recipe, one after the other or all of them."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipelines.cli.options import Address, Overrides, RecipePath, tell
from pipelines.dataset.reports import each_report
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.record import Outcome, Record

app = typer.Typer()


def _train_ddpm(recipe: Recipe) -> Outcome:
    """Train a diffusion model, or go on from its last checkpoint, and write it to paths.denoiser."""
    from pipelines.stages.train_ddpm import train_ddpm

    return train_ddpm(recipe)


def _sample(recipe: Recipe) -> Outcome:
    """Write 64 images to annotate, as PNG files named by seed; the dataset will contain none of them."""
    from pipelines.stages.sample import sample_images

    return sample_images(recipe)


def _fit(recipe: Recipe) -> Outcome:
    """Fit the interpreter, all its members, on paths.annotated."""
    from pipelines.stages.fit import fit

    return fit(recipe)


def _generate(recipe: Recipe) -> Outcome:
    """Make the units of the dataset that are not there yet, on all GPUs of a Ray cluster."""
    from pipelines.stages.generate import generate

    return generate(recipe)


def _train(recipe: Recipe) -> Outcome:
    """Train one DeepLab for each seed and source; those that are there already are left alone."""
    from pipelines.stages.train import train

    return train(recipe)


def _evaluate(recipe: Recipe) -> Outcome:
    """Score interpreter and networks on paths.held_out."""
    from pipelines.stages.evaluate import evaluate

    return evaluate(recipe)


def _report(recipe: Recipe) -> Outcome:
    """Write report.html: scores, samples, rejected samples, class shares, uncertainties, times; and strip.png."""
    from pipelines.stages.report import write_report

    return write_report(recipe)


STAGES: dict[str, Callable[[Recipe], Outcome]] = {
    "train-ddpm": _train_ddpm,
    "sample": _sample,
    "fit": _fit,
    "generate": _generate,
    "train": _train,
    "evaluate": _evaluate,
    "report": _report,
}
_ON_RAY = ("generate", "train")  # these find their own machines; `run` has the others placed
NEXT = {
    "train-ddpm": "sample",
    "sample": "fit",
    "fit": "generate",
    "generate": "train",
    "train": "evaluate",
    "evaluate": "report",
}


def _command(name: str) -> Callable[..., None]:
    def command(recipe: RecipePath, overrides: Overrides = None) -> None:
        tell(name, STAGES[name](Recipe.load(recipe, tuple(overrides or ()))))
        if name in NEXT:
            console.print(f"next: datasetddpm {NEXT[name]} {recipe}")

    command.__doc__ = STAGES[name].__doc__
    return command


for _name in [name for name in STAGES if name not in _ON_RAY]:
    app.command(_name)(_command(_name))


@app.command("generate", help=_generate.__doc__)
def generate_command(
    recipe: RecipePath,
    overrides: Overrides = None,
    address: Address = None,
    repair: Annotated[bool, typer.Option("--repair", help="Read every byte; make again what is damaged.")] = False,
) -> None:
    loaded = Recipe.load(recipe, _at(address, overrides))
    from pipelines.stages.generate import generate

    tell("generate", generate(loaded, repair=repair))
    console.print(f"next: datasetddpm {NEXT['generate']} {recipe}")


@app.command("train", help=_train.__doc__)
def train_command(recipe: RecipePath, overrides: Overrides = None, address: Address = None) -> None:
    tell("train", _train(Recipe.load(recipe, _at(address, overrides))))
    console.print(f"next: datasetddpm {NEXT['train']} {recipe}")


@app.command("run")
def run(recipe: RecipePath, overrides: Overrides = None, address: Address = None) -> None:
    """Run all stages of a recipe, from fit on, that are not done."""
    _run_all(Recipe.load(recipe, _at(address, overrides)))


def _at(address: str | None, overrides: list[str] | None) -> tuple[str, ...]:
    return (*(overrides or ()), *([f'cluster.address="{address}"'] if address else []))


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option(help="Where everything is put.")] = Path("runs/demo"),
    overrides: Overrides = None,
) -> None:
    """The whole pipeline on the shipped domain: cartoon faces, 20 of them annotated."""
    path = Path(str(files("pipelines").joinpath("recipes/demo.toml")))
    _run_all(Recipe.load(path, (f'paths.out="{out}"', *(overrides or ()))))


def _run_all(recipe: Recipe) -> None:
    """All stages from fit on, and the table of scores; without [generate], of the interpreter alone."""
    from pipelines.driver.placing import joined, placed

    stages = ["fit"]
    if recipe.makes_dataset:
        stages += ["generate", "train"]
    if recipe.paths.held_out:
        stages += ["evaluate", "report"] if recipe.makes_dataset else ["evaluate"]
    with joined(recipe.cluster):
        for stage in stages:
            tell(stage, STAGES[stage](recipe) if stage in _ON_RAY else placed(stage, STAGES[stage], recipe))
    if recipe.paths.held_out:
        console.print(_score_table(recipe))
    if "report" in stages:
        from pipelines.folders import report_page

        console.print(f"Report: {report_page(recipe).resolve()}")


def _score_table(recipe: Recipe) -> Table:
    """mIoU of the interpreter and of the networks on the held-out images."""
    from pipelines.folders import dataset_folder, scores_folder
    from pipelines.stages.evaluate import mean_and_deviation

    results = Record.read(scores_folder(recipe)).results
    kept = sum(report.counts["kept"] for report in each_report(dataset_folder(recipe)))
    network = f"DeepLab{recipe.train.network.variant.upper()}"
    said = {
        "interpreter": "interpreter (DDPM-Seg), on the images themselves",
        "synthetic": f"{network} trained on {kept} synthetic images",
        "annotated": f"{network} trained as long on the annotated images alone",
    }
    table = Table("", "mIoU", "counted as published", title="On the held-out images")
    for name, runs in results.items():
        counts = ([scores[key] for scores in runs] for key in ("mean_iou", "published_mean_iou"))
        table.add_row(said[name], *map(mean_and_deviation, counts))
    return table

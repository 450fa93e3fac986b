"""The command `datasetddpm`."""

import logging
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cluster import ClusterError, log_of, stop, submit
from deeplab import ExportError
from generate import CheckpointError, Denoiser
from label import AnnotationError, Fit, ImageError, InterpreterError, Scheme, SchemeError
from pipelines import shards
from pipelines.evaluate import evaluate, mean_and_deviation, scores_folder
from pipelines.export import FORMATS, export
from pipelines.export_model import export_model, segment_with_model
from pipelines.fit_interpreter import fit
from pipelines.generate_dataset import generate
from pipelines.import_npz import import_npz
from pipelines.lease import LeaseError
from pipelines.progress import console
from pipelines.recipe import Recipe, RecipeError
from pipelines.report import report_page, write_report
from pipelines.sample_images import sample_images
from pipelines.segment_images import segment_files
from pipelines.shards import DatasetError
from pipelines.stage import Outcome, Record
from pipelines.status import status
from pipelines.storage import StorageError, location
from pipelines.study import measure, missing
from pipelines.study_page import write_page
from pipelines.submission import NEEDS, packed, result
from pipelines.tally import ranges
from pipelines.train_ddpm import train_ddpm
from pipelines.train_deeplab import train
from pipelines.verification import damages, missing_units
from pipelines.worker import dataset_folder

app = typer.Typer(
    help="Annotate a few dozen images; get tens of thousands of labelled ones and a network trained on them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

USER_ERRORS = (
    RecipeError,
    ExportError,
    DatasetError,
    CheckpointError,
    AnnotationError,
    ImageError,
    InterpreterError,
    SchemeError,
)
RUN_ERRORS = (ClusterError, LeaseError, StorageError)
STAGES: dict[str, Callable[[Recipe], Outcome]] = {
    "train-ddpm": train_ddpm,
    "sample": sample_images,
    "fit": fit,
    "generate": generate,
    "train": train,
    "evaluate": evaluate,
    "report": write_report,
}
NEXT = {
    "train-ddpm": "sample",
    "sample": "fit",
    "fit": "generate",
    "generate": "train",
    "train": "evaluate",
    "evaluate": "report",
}

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The run's recipe, a TOML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a key, as generate.steps=50; repeatable.")]


Address = Annotated[
    str | None, typer.Option(help="The Ray cluster: local, auto, host:6379 or ray://host:10001; cluster.address.")
]


JobAddress = Annotated[str, typer.Option(help="The HTTP address of the cluster's head.")]


def run_stage(name: str, recipe: Recipe) -> None:
    """Run one stage and say what it made."""
    _tell(name, STAGES[name](recipe))


def _tell(name: str, outcome: Outcome) -> None:
    """Say what was made; a unit or an image that failed ends in exit code 1."""
    verb = "made" if outcome.fresh else "found"
    console.print(f"[bold]{name}[/bold]: {verb} {outcome.what} in {outcome.where} ({outcome.seconds:.0f} s)")
    _end([f"{name}: {failure}" for failure in outcome.failures])


def _end(failures: list[str]) -> None:
    """What failed, one sentence each, and exit code 1 if anything did."""
    for failure in failures:
        console.print(f"[red]{failure}[/red]")
    if failures:
        raise typer.Exit(1)


def _command(name: str) -> Callable[..., None]:
    def command(recipe: RecipePath, overrides: Overrides = None) -> None:
        run_stage(name, Recipe.load(recipe, tuple(overrides or ())))
        if name in NEXT:
            console.print(f"next: datasetddpm {NEXT[name]} {recipe}")

    command.__doc__ = STAGES[name].__doc__
    return command


for _name in [name for name in STAGES if name != "generate"]:
    app.command(_name)(_command(_name))


@app.command("generate")
def generate_command(
    recipe: RecipePath,
    overrides: Overrides = None,
    address: Address = None,
    repair: Annotated[bool, typer.Option("--repair", help="Read every byte; make again what is damaged.")] = False,
) -> None:
    """Make the units of the dataset that are not there yet, on all GPUs of a Ray cluster."""
    _tell("generate", generate(Recipe.load(recipe, _at(address, overrides)), repair=repair))
    console.print(f"next: datasetddpm train {recipe}")


@app.command("segment")
def segment(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="[RECIPE] IMAGES...", help="The recipe, unless --model; images, or folders.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    model: Annotated[
        Path | None, typer.Option(help="An exported network (.onnx), in place of a recipe and its interpreter.")
    ] = None,
    fit: Annotated[Fit, typer.Option(help="How an image of another size than the model's is seen.")] = "stretch",
    overrides: Overrides = None,
) -> None:
    """Segment any image: its mask, an overlay, class shares as JSON, and an interpreter's uncertainty."""
    if model:
        _tell("segment", segment_with_model(model, inputs, out))
        return
    recipe, *images = inputs
    if not images:
        raise RecipeError(f"{recipe} came alone; a recipe and images are needed, or --model and images")
    _tell("segment", segment_files(Recipe.load(recipe, tuple(overrides or ())), images, out, fit))


@app.command("export-model")
def export_model_command(
    recipe: RecipePath,
    onnx: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    overrides: Overrides = None,
) -> None:
    """Write the trained network as an ONNX file, checked against torch."""
    _tell("export-model", export_model(Recipe.load(recipe, tuple(overrides or ())), onnx))
    console.print(f"next: datasetddpm segment --model {onnx} IMAGES --out FOLDER")


@app.command("study")
def study(
    recipe: RecipePath,
    page: Annotated[Path, typer.Option(help="The page to write, with its figures beside it.")] = Path(
        "docs/RESULTS.md"
    ),
    cells: Annotated[int | None, typer.Option(min=0, help="Measure at most so many cells, then stop.")] = None,
    overrides: Overrides = None,
) -> None:
    """Measure a grid of methods and settings on the held-out images; goes on where it was stopped."""
    loaded = Recipe.load(recipe, tuple(overrides or ()))
    todo = missing(loaded)
    console.print(f"study: {len(todo)} cells are not measured yet")
    write_page(loaded, page)
    for cell in todo[:cells]:
        measure(loaded, cell)
        write_page(loaded, page)
    console.print(f"study: {len(missing(loaded))} cells left; the page is {page}")


@app.command("run")
def run(recipe: RecipePath, overrides: Overrides = None, address: Address = None) -> None:
    """Run all stages of a recipe, from fit on, that are not done."""
    run_all(Recipe.load(recipe, _at(address, overrides)))


def _at(address: str | None, overrides: list[str] | None) -> tuple[str, ...]:
    return (*(overrides or ()), *([f'cluster.address="{address}"'] if address else []))


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option(help="Where everything is put.")] = Path("runs/demo"),
    overrides: Overrides = None,
) -> None:
    """The whole pipeline on the shipped domain: cartoon faces, 20 of them annotated."""
    path = Path(str(files("pipelines").joinpath("recipes/demo.toml")))
    run_all(Recipe.load(path, (f'paths.out="{out}"', *(overrides or ()))))


@app.command("convert")
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A guided-diffusion or improved-diffusion state_dict (.pt).")],
    to: Annotated[Path, typer.Option(help="The diffusers folder to write.")],
    flags: Annotated[
        str | None, typer.Option(help="Its command line, or a preset; by the file's name if left out.")
    ] = None,
) -> None:
    """Write a checkpoint as a folder that datasetddpm and diffusers open."""
    if to.exists() and any(to.iterdir()):
        raise CheckpointError(f"{to} is there already and not empty; name another folder")
    Denoiser.from_pretrained(checkpoint, flags=flags).save_pretrained(to)
    console.print(f"{checkpoint}: converted to {to}")


@app.command("import-npz")
def import_npz_command(
    npz: Annotated[Path, typer.Argument(metavar="NPZ", help="A published synthetic set.")],
    out: Annotated[Path, typer.Option(help="The dataset's folder.")],
    scheme: Annotated[Path | None, typer.Option(help="The classes, a TOML file; else they are counted.")] = None,
    portion: Annotated[float, typer.Option(help="The most uncertain share of each unit, to be dropped.")] = 0.0,
    unit_size: Annotated[int, typer.Option(help="Rows of a shard.")] = 250,
) -> None:
    """Turn a published synthetic set, images, labels and uncertainty in an npz, into shards."""
    _tell("import-npz", import_npz(npz, out, scheme and Scheme.load(scheme), portion=portion, unit_size=unit_size))


@app.command("export")
def export_command(
    dataset: Annotated[Path, typer.Argument(help="A dataset's folder.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format_name: Annotated[str, typer.Option("--format", help=f"One of: {', '.join(FORMATS)}.")] = "npz",
) -> None:
    """Write a dataset's kept samples as a file of another format."""
    _tell("export", export(dataset, out, format_name))


@app.command("verify")
def verify(folder: Annotated[str, typer.Argument(help="A dataset's folder, a path or a URL.")]) -> None:
    """Read every byte of a dataset and compare it with the reports; exit code 1 when it is damaged or not whole."""
    where = location(folder)
    damaged, missing = damages(where), missing_units(where)
    for damage in damaged:
        console.print(f"[red]{damage}[/red]")
    if missing:
        console.print(f"[red]not made yet: units {ranges(missing)}; generate goes on with them[/red]")
    if damaged:
        console.print("`datasetddpm generate RECIPE --repair` makes them again")
    if damaged or missing:
        raise typer.Exit(1)
    console.print(f"{folder}: {len(shards.committed_units(where))} shards, all as written")


@app.command("submit")
def submit_command(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help=f"One of: {', '.join(NEEDS)}.")],
    recipe: RecipePath,
    address: JobAddress = "http://127.0.0.1:8265",
    follow: Annotated[bool, typer.Option("--follow", help="Show what it prints, and end as it ends.")] = False,
    overrides: Overrides = None,
) -> None:
    """Run a stage as a job on a Ray cluster; with --follow the exit code says whether everything is there."""
    settings = tuple(overrides or ())
    with packed(stage, recipe, settings, address) as parcel:
        job = submit(address, parcel.command, parcel.load, grace_seconds=parcel.grace_seconds)
    console.print(f"submitted {job}; `datasetddpm stop {job} --address {address}` ends it in good order")
    if follow:
        for piece in log_of(address, job):
            console.out(piece, end="", highlight=False)
        _end(result(Recipe.load(recipe, settings), stage, address, job))


@app.command("stop")
def stop_command(job: Annotated[str, typer.Argument()], address: JobAddress = "http://127.0.0.1:8265") -> None:
    """Ask a job to end in good order: its current units have their grace, and the next run goes on."""
    console.print(f"{job}: {'stopping' if stop(address, job) else 'has ended already'}")


@app.command("status")
def status_command(folder: Annotated[str, typer.Argument(help="A dataset's folder, a path or a URL.")]) -> None:
    """How far a dataset is, who makes it, and what failed: from its folder alone."""
    for name, value in status(location(folder)).items():
        console.print(f"{name + ':':10} {value}")


def run_all(recipe: Recipe) -> None:
    """All stages from fit on, and the table of scores; without [generate], of the interpreter alone."""
    stages = ["fit"]
    if recipe.makes_dataset:
        stages += ["generate", "train"]
    if recipe.paths.held_out:
        stages += ["evaluate", "report"] if recipe.makes_dataset else ["evaluate"]
    for stage in stages:
        run_stage(stage, recipe)
    if recipe.paths.held_out:
        console.print(score_table(recipe))
    if "report" in stages:
        console.print(f"Report: {report_page(recipe).resolve()}")


def score_table(recipe: Recipe) -> Table:
    """mIoU of the interpreter and of the networks on the held-out images."""
    folder = scores_folder(recipe)
    results = Record.read(folder).results
    kept = sum(report.counts["kept"] for report in shards.reports(dataset_folder(recipe)))
    network = f"DeepLab{recipe.train.variant.upper()}"
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


def main() -> None:
    """Entry point: mistakes of the user's end in one sentence and exit code 2, those of machines in exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("ray").setLevel(logging.WARNING)
    try:
        app()
    except USER_ERRORS as error:
        sys.exit(_say(error, code=2))
    except RUN_ERRORS as error:
        sys.exit(_say(error, code=1))


def _say(error: Exception, *, code: int) -> int:
    typer.echo(f"datasetddpm: {error}", err=True)
    return code

"""Commands about models: a checkpoint converted, images segmented, a network exported, methods compared."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

import generate
from label import Fit
from pipelines.cli.options import Call, Overrides, RecipePath, load, of_this_machine, say, tell
from pipelines.errors import RecipeError
from pipelines.files.storage import filling
from pipelines.files.writable import must_be_writable
from pipelines.progress import console

app = typer.Typer()


@app.command("convert")
def convert(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A guided-diffusion or improved-diffusion state_dict (.pt).")
    ],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="The diffusers folder to write.")],
    flags: Annotated[
        str | None, typer.Option(metavar="FLAGS", help="Its command line, or a preset; by the file's name if left out.")
    ] = None,
) -> None:
    """Write a checkpoint as a diffusers folder.

    Reads a guided-diffusion or improved-diffusion checkpoint. Writes configuration, scheduler and weights into a folder
    that is new or empty.

    Example: datasetddpm convert lsun_horse.pt --to horses
    """
    if of_this_machine(to, "--to").exists() and any(to.iterdir()):
        raise generate.CheckpointError(f"{to} is there already and not empty; name another folder")
    must_be_writable(to.parent)
    denoiser = generate.Denoiser.from_pretrained(checkpoint, flags=flags)
    with filling(to) as part:
        denoiser.save_pretrained(part)
    console.print(f"{checkpoint}: converted to {to}")


@app.command("segment")
def segment(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="[RECIPE] IMAGES...", help="The recipe, unless --model; images, or folders.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write to.")],
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An exported network (.onnx), in place of a recipe and its interpreter."),
    ] = None,
    fit: Annotated[
        Fit | None, typer.Option(help="How an image of another size than the model's is seen.", show_default="stretch")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Segment images of any size and kind.

    Reads paths.denoiser and the interpreter, or an exported network, and the images. Writes masks, overlays and class
    shares: NAME.mask.png, NAME.overlay.png and NAME.json for each, and NAME.uncertainty.png with an interpreter.

    Example: datasetddpm segment recipe.toml photos --out masks --fit tile
    """
    if model:
        if fit or overrides:
            raise RecipeError(
                "--fit and --set go with a recipe; --model stretches images to the network's size and back"
            )
        from pipelines.stages.export_onnx import segment_with_model

        tell("segment", segment_with_model(model, inputs, of_this_machine(out, "--out")))
        return
    path, *images = inputs
    if not images:
        raise RecipeError(f"{path} came alone; a recipe and images are needed, or --model and images")
    call = Call.of(path, overrides)
    recipe = call.load()
    call.require("segment", recipe)
    from pipelines.stages.segment import segment_files

    tell("segment", segment_files(recipe, images, of_this_machine(out, "--out"), fit or "stretch"))


@app.command("export-model")
def export_model(
    recipe: RecipePath,
    onnx: Annotated[Path, typer.Option(metavar="FILE", help="The ONNX file to write.")],
    overrides: Overrides = None,
) -> None:
    """Write the trained network as an ONNX file.

    Reads the network of the first of train.seeds in paths.out/deeplab. Writes one file, checked against torch.

    Example: datasetddpm export-model recipe.toml --onnx cats.onnx
    """
    call = Call.of(recipe, overrides)
    loaded = call.load()
    call.require("export-model", loaded)
    from pipelines.stages.export_onnx import export_model

    tell("export-model", export_model(loaded, of_this_machine(onnx, "--onnx")))
    say(f"next: {shlex.join(['datasetddpm', 'segment', '--model', str(onnx)])} IMAGES --out FOLDER")


@app.command("study")
def study(
    recipe: RecipePath,
    page: Annotated[Path, typer.Option(metavar="FILE", help="The page to write, with its figures beside it.")] = Path(
        "docs/RESULTS.md"
    ),
    cells: Annotated[
        int | None, typer.Option(min=0, metavar="NUMBER", help="Measure at most so many cells, then stop.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Measure a grid of methods on the held-out images.

    Goes on where it was stopped; several processes share the cells. Reads paths.annotated, paths.held_out,
    paths.denoiser and paths.photographs. Writes cells to paths.out/study and a page with figures. Keys: those of the
    section study.

    Example: datasetddpm study demo --page results/page.md --cells 3
    """
    loaded = load(recipe, overrides)
    from pipelines.study.cells import missing
    from pipelines.study.measuring import measure_missing
    from pipelines.study.page import write_page

    console.print(f"study: {len(missing(loaded))} cells are not measured yet")
    write_page(loaded, page)
    for _ in measure_missing(loaded, cells):
        write_page(loaded, page)
    write_page(loaded, page)  # with what other processes have measured since
    console.print(f"study: {len(missing(loaded))} cells left; the page is {page}")

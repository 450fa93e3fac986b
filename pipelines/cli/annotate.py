"""The command that annotates in the browser."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Call, Overrides, RecipePath, from_here, say
from pipelines.errors import RecipeError
from pipelines.recipe import Recipe

app = typer.Typer()

PACKAGES = ("fastapi", "uvicorn", "websockets")
"""What the extra `annotate` installs."""


@app.command("annotate")
def annotate_command(
    recipe: RecipePath,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGES]...", help="Images, or folders of them, that are added first."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="NUMBER", help="The port; any that is free if left out.")
    ] = 0,
    review: Annotated[
        int | None,
        typer.Option(min=1, metavar="NUMBER", help="Correct so many samples of the dataset, the most uncertain ones."),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Whether a browser is opened.")] = True,
    overrides: Overrides = None,
) -> None:
    """Draw masks in the browser, with the interpreter watching.

    Reads paths.denoiser, paths.annotated and the images to add, or the samples where paths.annotated is empty. Writes
    images, masks and scheme.toml to paths.annotated, as they are drawn. With --review it reads the dataset, and writes
    what is corrected to paths.out/corrected, never to the shards. Ctrl-C ends.

    Example: datasetddpm annotate recipe.toml photos --port 8800 --no-browser
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise RecipeError(
            f"annotating in the browser needs {', '.join(missing)}; run `pip install 'datasetddpm[annotate]'`"
        )
    call = Call.of(recipe, overrides)
    loaded = call.load()
    if review is not None:
        _review(loaded, review, images, port=port, browser=browser)
        return
    call.require("annotate", loaded)
    from pipelines.annotator.running import annotate

    annotate(loaded, images or (), port=port, browser=browser)
    say(f"annotate: everything is saved\nnext: {call.line('fit')}")


def _review(recipe: Recipe, count: int, images: list[Path] | None, *, port: int, browser: bool) -> None:
    if images:
        raise RecipeError("--review takes its images from the dataset; leave the others out")
    from pipelines.annotator.running import review

    corrected = review(recipe, count, port=port, browser=browser)
    say(f"annotate: everything is saved in {from_here(corrected)}, a folder of annotated images")

"""Which steps, blocks or layers an interpreter should read."""

import typer
from rich.table import Table

from pipelines.cli.options import Call, Overrides, RecipePath, say, tell
from pipelines.folders import features_folder
from pipelines.progress import console
from pipelines.recipe import Recipe

app = typer.Typer()


@app.command("features")
def features(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Find the steps, blocks or layers that label best.

    Fits small interpreters on each single map, and on greedy joins of them, by cross-validation. Goes on where it was
    stopped. Reads paths.annotated and paths.denoiser. Writes a table, a chart and the keys for the recipe to
    paths.out/features. Keys: those of the section features.

    Example: datasetddpm features recipe.toml --set features.steps=[50,150]
    """
    call = Call.of(recipe, overrides)
    loaded = call.load()
    call.require("features", loaded)
    from pipelines.stages.features import best_overrides, compare_features, lines

    tell("features", compare_features(loaded))
    console.print(_table(loaded))
    say(f"Chart: {(features_folder(loaded) / 'features.png').resolve()}")
    say("Put into the recipe, as it stands in interpreter.toml beside the chart:")
    say("\n".join(lines(loaded)))
    say(f"next: {call.line('fit', *best_overrides(loaded))}")


def _table(recipe: Recipe) -> Table:
    """Everything that was measured, the best first."""
    from pipelines.stages.features import table

    shown = Table("", "channels", "mIoU", title="On annotated images that were not fitted on")
    for row in table(recipe):
        score = "-" if row.mean_iou is None else f"{row.mean_iou:.3f}"
        shown.add_row(row.choice.name.replace("-", " "), f"{row.channels}", score)
    return shown

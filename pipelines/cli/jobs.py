"""Stages as jobs on a Ray cluster."""

from typing import Annotated

import typer

import cluster
from pipelines.cli.options import JobAddress, Overrides, RecipePath, end, load
from pipelines.progress import console

app = typer.Typer()


@app.command("submit")
def submit_command(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="generate, train, or run for all of them.")],
    recipe: RecipePath,
    address: JobAddress = "http://127.0.0.1:8265",
    follow: Annotated[bool, typer.Option("--follow", help="Show what it prints, and end as it ends.")] = False,
    overrides: Overrides = None,
) -> None:
    """Run a stage as a job on a Ray cluster.

    With --follow the exit code says whether everything is there. Reads the recipe, and for generate the interpreter,
    which travel along. Writes what the stage writes, to places that the cluster sees: URLs, or folders of
    cluster.shared.

    Example: datasetddpm submit generate recipe.toml --address http://head:8265 --follow
    """
    loaded = load(recipe, overrides)
    from pipelines.driver.submission import packed, result

    with packed(stage, recipe, tuple(overrides or ()), address) as parcel:
        job = cluster.submit(address, parcel.command, parcel.load, grace_seconds=parcel.grace_seconds)
    console.print(f"submitted {job}; `datasetddpm stop {job} --address {address}` ends it in good order")
    if follow:
        for piece in cluster.log_of(address, job):
            console.out(piece, end="", highlight=False)
        end(result(loaded, stage, address, job))


@app.command("stop")
def stop_command(
    job: Annotated[str, typer.Argument(metavar="JOB", help="What `submit` printed.")],
    address: JobAddress = "http://127.0.0.1:8265",
) -> None:
    """Ask a job to end in good order.

    Its current units have their grace, and the next run goes on. Reads and writes nothing here. Keys, when it was
    submitted: cluster.grace_seconds.

    Example: datasetddpm stop raysubmit_abc --address http://head:8265
    """
    console.print(f"{job}: {'stopping' if cluster.stop(address, job) else 'has ended already'}")

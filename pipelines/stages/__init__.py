"""The stages of a run, a file a command: each takes a recipe and returns an Outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from pipelines.recipe import Recipe
from pipelines.record import Outcome


@dataclass(frozen=True)
class Stage:
    """A command that makes a part of a recipe. Its file is imported when it is made, with torch and Ray."""

    name: str
    function: str  # module:name, below pipelines.stages
    help: str
    on_ray: bool = False  # finds its own machines; the others are placed by whoever wants them on a cluster

    def imported(self) -> Callable[..., Outcome]:
        """The function that makes it."""
        module, _, function = self.function.partition(":")
        return getattr(import_module(f"pipelines.stages.{module}"), function)

    def make(self, recipe: Recipe) -> Outcome:
        """As the imported function, which is imported where this runs: here or on an actor."""
        return self.imported()(recipe)


_ORDERED = (
    Stage(
        "train-ddpm",
        "train_ddpm:train_ddpm",
        "Train a diffusion model, or go on from its last checkpoint, and write it to paths.denoiser.",
    ),
    Stage(
        "sample",
        "sample:sample_images",
        "Write 64 images to annotate, as PNG files named by seed; the dataset will contain none of them.",
    ),
    Stage("fit", "fit:fit", "Fit the interpreter, all its members, on paths.annotated."),
    Stage(
        "generate",
        "generate:generate",
        "Make the units of the dataset that are not there yet, on all GPUs of a Ray cluster.",
        on_ray=True,
    ),
    Stage(
        "train",
        "train:train",
        "Train one DeepLab for each seed and source; those that are there already are left alone.",
        on_ray=True,
    ),
    Stage("evaluate", "evaluate:evaluate", "Score interpreter and networks on paths.held_out."),
    Stage(
        "report",
        "report:write_page",
        "Write report.html: scores, samples, rejected samples, class shares, uncertainties, times; and strip.png.",
    ),
)
STAGES = {stage.name: stage for stage in _ORDERED}
"""By name, in the order in which they follow one another."""


def next_stage(stage: Stage, recipe: Recipe) -> Stage | None:
    """The one that goes on with what this one made, of those that the recipe has something for."""
    wanted = [STAGES["sample"], *stages_of_run(recipe)]
    return next((other for other in _ORDERED[_ORDERED.index(stage) + 1 :] if other in wanted), None)


def stages_of_run(recipe: Recipe) -> list[Stage]:
    """What makes all of a recipe from its annotated images on; without [generate], of the interpreter alone."""
    names = ["fit"]
    if recipe.makes_dataset:
        names += ["generate", "train"]
    if recipe.paths.held_out:
        names += ["evaluate", "report"] if recipe.makes_dataset else ["evaluate"]
    return [STAGES[name] for name in names]

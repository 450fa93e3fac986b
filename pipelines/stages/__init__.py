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
        """Train a diffusion model on photographs.

        Goes on from its last checkpoint. Reads paths.unlabelled. Writes the model to paths.denoiser, checkpoint and
        sheets of samples to paths.out/train-ddpm. Keys: train_ddpm.size, channels, updates, mirror.

        Example: datasetddpm train-ddpm recipe.toml --set train_ddpm.updates=20000""",
    ),
    Stage(
        "sample",
        "sample:sample_images",
        """Write images to annotate.

        They are PNG files named by seed; the dataset will contain none of them. With --of they are chosen among so
        many: unknown to the interpreter, and unlike what is annotated. Reads paths.painter, or else paths.denoiser;
        with --of also paths.annotated and paths.out/interpreter, where they are there. Writes paths.out/samples. Keys:
        generate.steps, generate.solver, generate.spacing, generate.run_seed.

        Example: datasetddpm sample recipe.toml -n 40""",
    ),
    Stage(
        "fit",
        "fit:fit",
        """Fit the interpreter on the annotated images.

        Reads paths.annotated and paths.denoiser, or paths.weights of what interpreter.features names. Writes
        paths.out/interpreter. Keys: interpreter.features, steps, blocks, layers, members, setting.

        Example: datasetddpm fit recipe.toml --set interpreter.setting=fast""",
    ),
    Stage(
        "generate",
        "generate:generate",
        """Make the dataset, on all GPUs of a Ray cluster.

        Units that are there are left alone. Reads paths.denoiser and the interpreter. Writes paths.dataset, or else
        paths.out/dataset; of labelled photographs, paths.photographed. Keys: generate.images, samples, unit_size,
        batch_size, steps, portion; cluster.actors.

        Example: datasetddpm generate recipe.toml --set generate.samples=50000""",
        on_ray=True,
    ),
    Stage(
        "train",
        "train:train",
        """Train one DeepLab for each seed and source.

        Those that are there are left alone. Reads the dataset; with train.baseline, paths.annotated as well; with
        train.mix, what that lists. Writes paths.out/deeplab. Keys: train.encoder, scale, steps or epochs, batch_size,
        mix, seeds, baseline.

        Example: datasetddpm train recipe.toml --set train.epochs=5""",
        on_ray=True,
    ),
    Stage(
        "evaluate",
        "evaluate:evaluate",
        """Score interpreter and networks on held-out images.

        Reads paths.held_out, the interpreter and the networks. Writes paths.out/scores. Keys: paths.held_out.

        Example: datasetddpm evaluate recipe.toml""",
    ),
    Stage(
        "report",
        "report:write_page",
        """Write a page of scores, samples and quality.

        Rejected samples, uncertainties and times stand there, too. Reads what the stages before it made; before
        `train`, the page has no scores. Writes report.html and strip.png to paths.out/report, what is found of the
        dataset to paths.out/quality, and what is nearest to each sample to its index. Keys: name.

        Example: datasetddpm report recipe.toml""",
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

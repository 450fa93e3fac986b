"""One run: a network from its last checkpoint to its last step.

A run that is killed goes on from its last checkpoint and ends as if nothing had happened. The order of samples, their
augmentation and dropout are functions of (seed, number), so that the number of steps done says all.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import deeplab
from deeplab import NetworkError, Step, Trainee
from label import IGNORE
from pipelines.errors import RecipeError
from pipelines.progress import follow
from pipelines.record import keep_progress
from pipelines.training.data import Batch, Part, batched
from pipelines.training.history import Curve, History
from pipelines.training.plan import Run, build
from pipelines.units.devices import device, set_up

_BATCH = 10  # of validation


def train_network(run: Run, rank: int = 0) -> None:
    """Train from the last checkpoint to the end and keep the best network; the work of one worker."""
    workers, where = run.settings.workers, device()
    set_up(where)
    trainee, history = resumed(run, where)
    batches = training_batches(run, trainee.done, Part(run.settings.batch_size, rank, workers))
    steps = trainee.train(batches)
    if rank != 0:
        for _ in steps:
            pass
        return
    with ExitStack() as stack:
        log = stack.enter_context(history.logging(run.folder, trainee.done))
        for step in _shown(run, steps, trainee.done):
            history.losses.append(step.loss)
            log.step(step, run.settings.batch_size * run.optimisation.accumulate)
            if step.number % run.checkpoint_every == 0 or step.number == run.optimisation.steps:
                _validate(run, trainee, history.curve)
                log.curve(history.curve)
                history.write(run.folder, run.inputs, trainee)
                keep_progress(run.folder, step.number, run.optimisation.steps, "step")
    network = trainee.network
    assert isinstance(network, deeplab.DeepLab)
    if history.curve.best is not None:
        network.load_state_dict(history.curve.best)
    deeplab.save(network, run.folder)


def resumed(run: Run, where: str) -> tuple[Trainee, History]:
    """The network where its last checkpoint left it. Raises RecipeError for a checkpoint that is not its own."""
    trainee = Trainee(
        build(run),
        run.optimisation,
        class_weights=run.class_weights,
        ignore_index=IGNORE,
        seed=run.seed,
        device=where,
    )
    history = History.read(run.folder, run.inputs) or History.start()
    if history.state:
        try:
            trainee.restore(history.state)
        except NetworkError as error:
            raise RecipeError(f"{run.folder}: {error}; remove that folder to train anew") from error
    return trainee, history


def training_batches(run: Run, done: int, part: Part) -> Iterator[Batch]:
    """The part's batches from the step after `done` on."""
    drawn = run.data.drawn(run.seed, done * run.optimisation.accumulate * part.batch_size, part)
    changed = (deeplab.augment(each.augmentation, *each.pair, seed=[run.seed, each.number]) for each in drawn)
    return batched(changed, part.size)


def _shown(run: Run, steps: Iterator[Step], done: int) -> Iterator[Step]:
    samples, total = run.settings.batch_size * run.optimisation.accumulate, run.optimisation.steps

    def note(step: Step) -> str:
        epoch, waiting = step.number * samples / len(run.data), step.waited / step.seconds
        return f"epoch {epoch:.1f}, loss {step.loss:.3f}, {samples / step.seconds:.0f} samples/s, {waiting:.0%} waiting"

    return follow(steps, total, f"train {run.name}", "steps", before=done, note=note, folder=run.folder)


def _validate(run: Run, trainee: Trainee, curve: Curve) -> None:
    if run.validation is None:
        return
    images, masks = run.validation.images, run.validation.masks
    batches = ((images[i : i + _BATCH], masks[i : i + _BATCH]) for i in range(0, len(images), _BATCH))
    scores = deeplab.evaluate(trainee.network, batches, classes=len(run.names), ignore_index=IGNORE)
    curve.add(trainee.done, scores.mean_iou, trainee.network)

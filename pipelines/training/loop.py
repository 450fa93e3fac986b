"""Stage train: DeepLabV3 on the shards and, to compare, the same network on the annotated images alone.

A training that is killed goes on from its last checkpoint and ends as if nothing had happened: the order of samples,
their augmentation and dropout are functions of (seed, number), so that the number of steps done says all.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import deeplab
from deeplab import Step, Trainee
from label import IGNORE
from pipelines.errors import RecipeError
from pipelines.progress import follow
from pipelines.training.data import Batch, Part, batched
from pipelines.training.history import Curve, History
from pipelines.training.plan import Job, build
from pipelines.units.devices import device, set_up

_BATCH = 10  # of validation


def train_network(job: Job, rank: int = 0) -> None:
    """Train from the last checkpoint to the end and keep the best network; the work of one worker."""
    workers, where = job.settings.workers, device()
    set_up(where)
    trainee, history = resumed(job, where)
    batches = training_batches(job, trainee.done, Part(job.settings.batch_size, rank, workers))
    steps = trainee.train(batches)
    if rank != 0:
        for _ in steps:
            pass
        return
    with ExitStack() as stack:
        log = stack.enter_context(history.logging(job.folder, trainee.done))
        for step in _shown(job, steps, trainee.done):
            history.losses.append(step.loss)
            log.step(step, job.settings.batch_size * job.settings.accumulate)
            if step.number % job.checkpoint_every == 0 or step.number == job.training.steps:
                _validate(job, trainee, history.curve)
                log.curve(history.curve)
                history.write(job.folder, job.inputs, trainee)
    network = trainee.network
    assert isinstance(network, deeplab.DeepLab)
    if history.curve.best is not None:
        network.load_state_dict(history.curve.best)
    deeplab.save(network, job.folder)


def resumed(job: Job, where: str) -> tuple[Trainee, History]:
    """The network where its last checkpoint left it. Raises RecipeError for a checkpoint that is not its own."""
    trainee = Trainee(build(job), job.training, where)
    history = History.read(job.folder, job.inputs) or History.start()
    if history.state:
        try:
            trainee.restore(history.state)
        except ValueError as error:
            raise RecipeError(f"{job.folder}: {error}; remove that folder to train anew") from error
    return trainee, history


def training_batches(job: Job, done: int, part: Part) -> Iterator[Batch]:
    """The part's batches from the step after `done` on."""
    name, start = job.settings.augmentation, done * job.settings.accumulate * part.batch_size
    pairs = job.data.pairs(job.seed, start, part)
    changed = (deeplab.augment(name, *pair, seed=[job.seed, number]) for number, pair in pairs)
    return batched(changed, part.size)


def _shown(job: Job, steps: Iterator[Step], done: int) -> Iterator[Step]:
    samples, left = job.settings.batch_size * job.settings.accumulate, job.training.steps - done

    def note(step: Step) -> str:
        return f"loss {step.loss:.3f}, {samples / step.seconds:.0f} samples/s, {step.waited / step.seconds:.0%} waiting"

    return follow(steps, left, f"train {job.folder.name}", "steps", note=note)


def _validate(job: Job, trainee: Trainee, curve: Curve) -> None:
    found = job.validation
    if found is None:
        return
    starts = range(0, len(found.images), _BATCH)
    batches = ((found.images[i : i + _BATCH], found.masks[i : i + _BATCH]) for i in starts)
    scores = deeplab.evaluate(trainee.network, batches, classes=len(job.names), ignore_index=IGNORE)
    curve.add(trainee.done, scores.mean_iou, trainee.network)

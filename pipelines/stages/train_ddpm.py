"""Stage train-ddpm: images without labels to a diffusion model of their domain, here or on Ray."""

import filecmp
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from cluster import ClusterError, Resources, Stop, connect, room_for, stop_on_signals, train_together, watched
from generate import CheckpointError, ImageError
from generate.identity import locate
from generate.pictures import Picture, read_picture
from generate.tensors import load_saved
from pipelines.digests import first_difference
from pipelines.driver.placing import marked, must_see
from pipelines.driver.resources import device_of, resources_of
from pipelines.errors import RecipeError
from pipelines.files.disk import copy_folder
from pipelines.files.storage import filling, remove, remove_folder, rename, write_whole
from pipelines.files.writable import must_be_writable
from pipelines.folders import ddpm_folder
from pipelines.pictures import Pictures, pictures
from pipelines.progress import console, follow
from pipelines.quality.diversity import FEWEST
from pipelines.recipe import Recipe
from pipelines.record import CHECKPOINT, Outcome, Record, Results, complete, once, part_of
from pipelines.sections.cluster import ClusterSection
from pipelines.stopping import Stopped
from pipelines.training.painter import MODEL, Painting, begun, paint
from pipelines.training.sheets import figures_of
from pipelines.units.devices import needed_device
from pipelines.units.weights import local_weights

_SHOWN = 5  # mistakes that a message lists
_LOOKED_AT = 500  # images elsewhere that are read before the first update
_STOP = "stop"  # the file by which workers learn that somebody has asked for the end


def train_ddpm(recipe: Recipe) -> Outcome:
    """Train, or go on from the last checkpoint, and write the averaged weights in half precision to paths.denoiser.

    Raises Stopped after SIGTERM or Ctrl-C, once the update is done and kept.
    """
    target, seen = _target(recipe), _pictures(recipe)
    settings, folder = recipe.train_ddpm, ddpm_folder(recipe)
    inputs = {"train_ddpm": settings.made_with(), "images": seen.files}
    if settings.init is not None:
        inputs["init"] = locate(local_weights(settings.init), settings.init_flags).digest()
    if not complete(folder, inputs):
        checkpoint = part_of(folder, inputs) / CHECKPOINT
        if checkpoint.is_file():
            _must_be_of(checkpoint, inputs)
        else:
            begun(settings)  # what is wrong with it is said before the images are read
            _refuse_broken(seen)
        must_be_writable(target.parent)
    clause = f"a diffusion model after {settings.training.updates} updates"
    make = partial(_train, recipe, seen, inputs)
    outcome = once(folder, inputs, make, clause=clause, outputs=(f"{MODEL}/**/*",))
    _put_model(folder, target)
    return replace(outcome, where=target, clause=clause + _likeness(Record.read(folder).results))


def _likeness(results: Results) -> str:
    """What a finished training measured, for people."""
    if "precision" not in results:
        return ""
    count = results["compared"]
    return f", precision {results['precision']:.2f}, recall {results['recall']:.2f} of {count} samples and images"


def _train(recipe: Recipe, seen: Pictures, inputs: dict[str, Any], folder: Path) -> Results:
    painting = Painting(recipe.train_ddpm, seen.found, inputs, folder)
    stop = Stop()
    if recipe.train_ddpm.workers == 1 and recipe.cluster.address == "local":
        with _asked(stop):
            paint(painting, lambda: stop.requested)
    else:
        _train_together(painting, recipe.cluster, stop)
    if not (folder / MODEL).is_dir():
        raise Stopped(stop.number)
    updates = recipe.train_ddpm.training.updates
    likeness = figures_of(folder, updates)
    return {"updates": updates, **(asdict(likeness) if likeness else {})}


@contextmanager
def _asked(stop: Stop) -> Iterator[None]:
    """Signals raise the flag, where this is the thread that they find."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with stop_on_signals(stop):
        yield


def _train_together(painting: Painting, settings: ClusterSection, stop: Stop) -> None:
    """On as many workers as there is room for, and on fewer when machines are lost; every change is said once."""
    folder = painting.folder
    with connect(settings.address, log_to_driver=True) as ray, marked(folder) as mark, _asked(stop):
        resources = resources_of(settings, ray.gpus)
        resources = replace(resources, gpus=ceil(resources.gpus))  # nccl wants a whole one for each
        asked, device = painting.settings.workers, device_of(settings, resources)
        remove(folder / _STOP)  # of a driver that was killed
        while True:
            count = _room(asked, resources)
            console.print(
                f"train-ddpm: Ray at {ray.address}, {count} workers with {resources.cpus:g} CPUs, "
                f"{resources.gpus:g} GPUs" + (f"; there is no room for {asked}" if count < asked else "")
            )
            call = partial(
                train_together,
                partial(_train_there, mark, device, painting),
                workers=count,
                resources=resources,
                retries=settings.retries,
                storage=folder / "ray",
                patience=settings.patience_seconds,
            )
            try:
                watched(call, stop, partial(write_whole, folder / _STOP, b""))
                return
            except ClusterError:
                if stop.requested or not 0 < room_for(resources) < count:
                    raise
            finally:
                remove(folder / _STOP)


def _room(asked: int, resources: Resources) -> int:
    """Where there is none at all, the training itself waits for some."""
    return min(asked, room_for(resources) or asked)


def _train_there(mark: Path, needed: str, painting: Painting, rank: int) -> None:
    must_see(mark)
    needed_device(needed)
    flag = painting.folder / _STOP
    paint(painting, flag.exists if rank == 0 else lambda: False)


def _must_be_of(checkpoint: Path, inputs: dict[str, Any]) -> None:
    """Raises RecipeError for a file that is no checkpoint, or one of other settings or images."""
    anew = f"remove {checkpoint.parent} to train anew"
    try:
        origin = load_saved(checkpoint, mmap=True)["origin"]
    except (CheckpointError, LookupError, TypeError) as error:
        raise RecipeError(f"{checkpoint} is no checkpoint of train-ddpm, or is damaged; {anew}") from error
    if difference := first_difference(origin, inputs):
        raise RecipeError(f"{checkpoint} is of another training: {difference}; {anew}, or restore what it was")


def _put_model(folder: Path, target: Path) -> None:
    """Copy the finished model to paths.denoiser; what lies there and was not made here stays beside it."""
    model = folder / MODEL
    if _same(model, target):
        return
    must_be_writable(target.parent)
    with filling(target) as part:
        copy_folder(model, part)
        if any(_same(kept, target) for kept in folder.parent.glob(f"{folder.name}*/{MODEL}")):
            remove_folder(target)
        elif target.exists():
            rename(target, target.with_name(f"{target.name}@{time.strftime('%Y%m%d-%H%M%S')}"))


def _same(model: Path, target: Path) -> bool:
    """Whether two folders hold the same bytes under the same names."""
    one, other = ({p.relative_to(place) for p in place.rglob("*") if p.is_file()} for place in (model, target))
    return one == other and not any(filecmp.cmpfiles(model, target, one, shallow=False)[1:])


def _target(recipe: Recipe) -> Path:
    """Where the model goes. Raises RecipeError where the recipe does not say."""
    target = recipe.paths.denoiser
    if isinstance(target, str) or target.is_file():
        raise RecipeError(f"paths.denoiser is {target}; the model is written to a folder of this machine, name one")
    if recipe.train_ddpm.init is not None and recipe.train_ddpm.init == target:
        raise RecipeError(f"train_ddpm.init and paths.denoiser are both {target}; name another folder for what is made")
    return target


def _pictures(recipe: Recipe) -> Pictures:
    if recipe.paths.unlabelled is None:
        raise RecipeError("paths.unlabelled is missing; it names the folder of images to train on")
    found = pictures(recipe.paths.unlabelled)
    if recipe.train_ddpm.compared is not None and len(found.found) < FEWEST:
        count = len(found.found)
        raise RecipeError(
            f"train_ddpm.compared: paths.unlabelled has {count} images, {FEWEST} are needed; leave it out"
        )
    return found


def _refuse_broken(seen: Pictures) -> None:
    """Read every image once before the first update, rather than end in the middle of an epoch; elsewhere some."""
    looked_at = seen.found if seen.is_near else seen.found[:: 1 + len(seen.found) // _LOOKED_AT]
    checked = follow(map(_mistake, looked_at), len(looked_at), "check the images", "images")
    if mistakes := [wrong for wrong in checked if wrong]:
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise RecipeError(f"paths.unlabelled: {'; '.join(mistakes[:_SHOWN])}{more}: repair or remove what is broken")


def _mistake(picture: Picture) -> str | None:
    try:
        read_picture(picture)
    except ImageError as error:
        return str(error)
    return None

"""`datasetddpm annotate`: the folder, the models and the server brought together, until Ctrl-C."""

import secrets
import socket
import threading
import webbrowser
from collections.abc import Iterable
from pathlib import Path

from generate import IMAGE_SUFFIXES, read_image
from label import IGNORE, Scheme
from label.pairs import has_mask
from pipelines.annotator.endpoints import Room, make_app
from pipelines.annotator.folder import AnnotatedFolder
from pipelines.annotator.guard import guarded
from pipelines.annotator.live import Tabs
from pipelines.annotator.memory import cut_to
from pipelines.annotator.review import Reviewer, copied, most_uncertain
from pipelines.annotator.watcher import Watcher
from pipelines.errors import RecipeError, RunError
from pipelines.files.storage import write_whole
from pipelines.files.writable import must_be_writable
from pipelines.folders import corrected_folder, dataset_folder, samples_folder
from pipelines.places import PACKAGE
from pipelines.progress import console
from pipelines.recipe import Recipe
from pipelines.stopping import told_of_signals
from pipelines.units.devices import device
from pipelines.units.models import open_features

_FIRST_CLASSES = Scheme(("background", "object"))


def annotate(recipe: Recipe, images: Iterable[Path] = (), *, port: int = 0, browser: bool = True) -> None:
    """Serve the page on this machine until Ctrl-C. `images` are added to paths.annotated first; port 0: any free one.

    Raises RecipeError for a recipe without a folder to write to.
    """
    path, tabs = _folder(recipe), Tabs()
    listener = _listener(port)
    features = open_features(recipe, device())
    folder = AnnotatedFolder(path, _scheme(recipe, path), ignore=recipe.classes.ignore if recipe.classes else IGNORE)
    _add(folder, recipe, list(images), features.image_size)
    watcher = Watcher(folder, features, tabs.tell, upsampling=recipe.interpreter.upsampling)
    _serve(Room(folder, watcher, tabs, features.image_size, recipe.classes is not None), listener, browser=browser)


def review(recipe: Recipe, count: int, *, port: int = 0, browser: bool = True) -> Path:
    """Serve the most uncertain samples of the recipe's dataset, to be corrected in a folder of their own, which it is.

    Raises DatasetError for a dataset that is not there or not whole.
    """
    dataset, path, tabs = dataset_folder(recipe), corrected_folder(recipe), Tabs()
    samples = most_uncertain(dataset, count)
    must_be_writable(path)
    listener = _listener(port)
    folder = copied(samples, dataset, path)
    size = samples[0].mask.shape
    reviewer = Reviewer(samples, len(folder.scheme), tabs.tell)
    _serve(Room(folder, reviewer, tabs, (size[0], size[1]), fixed_classes=True), listener, browser=browser)
    return path


def _folder(recipe: Recipe) -> Path:
    folder = recipe.paths.annotated
    if folder is None:
        raise RecipeError("paths.annotated is missing; it names the folder that images and masks are written to")
    if folder.is_relative_to(PACKAGE):
        raise RecipeError(
            f"paths.annotated, {folder}, is inside the installed package; name a folder of your own with "
            "--set paths.annotated=FOLDER"
        )
    must_be_writable(folder)
    return folder


def _scheme(recipe: Recipe, folder: Path) -> Scheme:
    """The recipe's classes, or those of scheme.toml, which is written where it is missing."""
    if recipe.classes:
        return recipe.classes.scheme
    if not (folder / "scheme.toml").exists():
        write_whole(folder / "scheme.toml", _FIRST_CLASSES.to_toml().encode())
    return Scheme.load(folder / "scheme.toml")


def _add(folder: AnnotatedFolder, recipe: Recipe, given: list[Path], size: tuple[int, int]) -> None:
    """Copy the given images; where none are given and the folder is empty, the samples. Those of the name stay."""
    samples = samples_folder(recipe)
    if not given and not folder.names and samples.is_dir():
        given = [samples]
    there = {Path(name).stem for name in folder.names}
    files = [file for place in given for file in (sorted(place.iterdir()) if place.is_dir() else [place])]
    for file in files:
        passed_by = file.suffix.lower() not in IMAGE_SUFFIXES or file.stem.endswith((".mask", "_mask"))
        if file.stem in there or (passed_by and file not in given):
            continue
        image = read_image(file)
        if file.suffix.lower() == ".png" and image.shape[:2] == size and not has_mask(file):
            write_whole(folder.path / file.name, file.read_bytes())  # with what it says of its seed
        else:
            folder.add(file.name, cut_to(image, size))
    folder.refresh()


def _listener(port: int) -> socket.socket:
    """A socket that only this machine reaches. Raises RunError where the port is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # from here on a browser waits for the server, and is not turned away
    except OSError as error:
        listener.close()
        raise RunError(f"port {port} cannot be had ({error.strerror}); name another with --port") from error
    return listener


def _serve(room: Room, listener: socket.socket, *, browser: bool) -> None:
    import uvicorn

    token, port, watcher = secrets.token_urlsafe(24), listener.getsockname()[1], room.watcher
    app = guarded(make_app(room, token), token, port)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, ws="websockets-sansio", timeout_graceful_shutdown=1, lifespan="off"
    )
    server, address = uvicorn.Server(config), f"http://127.0.0.1:{port}/{token}/"

    def end() -> None:
        server.should_exit = True

    def watch() -> None:
        try:
            watcher.run()
        finally:  # a fault of the watcher ends the server, so that it is seen
            end()

    watching = threading.Thread(target=watch, name="watcher", daemon=True)
    watching.start()
    with told_of_signals(end):  # an exception in the loop of the server would become another one
        console.print(f"annotate: {len(room.folder.names)} images in {room.folder.path}", markup=False)
        console.print(f"annotate: open {address} (Ctrl-C ends)", markup=False)
        if browser:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        server.run(sockets=[listener])
    is_well = watcher.ends_well()
    watching.join(1)
    if watching.is_alive():  # torch does not bear that its threads are ended in the middle
        console.print("annotate: everything is saved; what the model reads just now is finished first")
        watching.join()
    if not is_well:
        raise RunError("the interpreter that watches has failed, see above; all that was drawn is saved")

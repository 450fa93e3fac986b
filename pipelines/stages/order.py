"""What a stage stands on, looked for in the folders alone: neither torch nor Ray is needed to say what is missing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from generate import IMAGE_SUFFIXES
from label.pairs import no_folder
from label.source_kinds import key_of
from pipelines.dataset.inventory import INDEX
from pipelines.dataset.manifest import open_dataset
from pipelines.folders import (
    Source,
    dataset_folder,
    interpreter_folder,
    network_folder,
    networks_folder,
    photographs_folder,
    report_page,
    samples_folder,
    scores_folder,
    sources,
)
from pipelines.pictures import ARCHIVES
from pipelines.recipe import Recipe
from pipelines.recognised import to_be_imported
from pipelines.record import RECORD
from pipelines.sections.train import OWN
from pipelines.units.sources import named_weights


@dataclass(frozen=True)
class Lack:
    """Something that a stage needs and that is not there."""

    clause: str
    maker: str | None = None  # the stage that makes it; none makes what the recipe does not name


def lack(stage: str, recipe: Recipe) -> Lack | None:
    """The first that the stage lacks. Storage elsewhere is not asked: the stage itself says what it lacks there."""
    return next((missing for look in _STANDS_ON.get(stage, ()) if (missing := look(recipe))), None)


def _images(recipe: Recipe) -> Lack | None:
    source = recipe.paths.unlabelled
    if source is None:
        return Lack("paths.unlabelled is missing; it names the folder of images to train on")
    if isinstance(source, str) or source.is_dir() or (source.suffix in ARCHIVES and source.is_file()):
        return None
    return Lack(f"paths.unlabelled, {source}, is no folder; images are needed there")


def _photographs(recipe: Recipe) -> Lack | None:
    if recipe.generate.source.images == "denoiser":
        return None
    source = photographs_folder(recipe)
    return None if source.is_dir() else Lack(f"paths.photographs, {source}, is no folder; images are needed there")


def _denoiser(recipe: Recipe) -> Lack | None:
    place = recipe.paths.denoiser
    if not isinstance(place, Path) or not place.is_absolute() or place.exists():
        return None  # a URL, a Hub id
    maker = "train-ddpm" if recipe.paths.unlabelled else None
    return Lack(f"paths.denoiser, {place}, is not there" + ("" if maker else "; a diffusion model is needed"), maker)


def _read_by(recipe: Recipe) -> Lack | None:
    """The denoiser, where images are read by it or at its size, and the files of other sources' weights."""
    if recipe.interpreter.reads_denoiser and (missing := _denoiser(recipe)):
        return missing
    for kind, place in named_weights(recipe).items():
        if isinstance(place, Path) and not place.is_file():
            key = f"paths.weights.{key_of(kind)}"
            return Lack(f"{key}, {place}, is not there; put the weights of {kind} there, or name their file")
    return None


def _painter(recipe: Recipe) -> Lack | None:
    """What paints: paths.painter, or else paths.denoiser."""
    place = recipe.paths.painter
    if place is None:
        return _denoiser(recipe)
    if not isinstance(place, Path) or not place.is_absolute() or place.exists():
        return None
    return Lack(f"paths.painter, {place}, is not there; a model that paints is needed")


def _annotated(recipe: Recipe) -> Lack | None:
    folder = recipe.paths.annotated
    if folder is None:
        return Lack("paths.annotated is missing; it names the folder of annotated images")
    if has_images(folder):
        return None
    if clause := to_be_imported(folder):
        return Lack(clause)
    if not folder.is_dir():
        return Lack(no_folder(folder))
    return Lack(f"{folder} holds no images; a few with their masks are needed there")


def has_images(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())


def _interpreter(recipe: Recipe) -> Lack | None:
    folder = interpreter_folder(recipe)
    return None if folder.is_dir() else Lack(f"{folder} holds no interpreter", "fit")


def _trained_on(recipe: Recipe) -> Lack | None:
    """What train.mix lists, or else the recipe's dataset."""
    mixed = {each.source for each in recipe.train.mix if each.share} or {"synthetic"}
    for folder in sorted(mixed.difference(OWN)):
        if "://" not in folder and not (Path(folder) / "dataset.json").is_file():
            return Lack(f"train.mix names {folder}, which holds no dataset.json")
    few = _annotated(recipe) if "annotated" in mixed else None
    return few or (_dataset(recipe) if "synthetic" in mixed else None)


def _dataset(recipe: Recipe) -> Lack | None:
    folder = dataset_folder(recipe)
    if not isinstance(folder, Path) or (folder / "dataset.json").is_file():
        return None
    return Lack(f"{folder} holds no dataset.json", "generate")


def _network(recipe: Recipe) -> Lack | None:
    """That of the first seed, which is exported."""
    return _first_untrained(recipe, sources(recipe)[:1] or ["synthetic"], recipe.train.seeds[:1])


def _networks(recipe: Recipe) -> Lack | None:
    return _first_untrained(recipe, sources(recipe), recipe.train.seeds)


def _first_untrained(recipe: Recipe, wanted: Sequence[Source], seeds: Sequence[int]) -> Lack | None:
    if wanted and not (folder := networks_folder(recipe)).is_dir():
        return Lack(f"{folder} holds no network", "train")
    for folder in (network_folder(recipe, source, seed) for source in wanted for seed in seeds):
        if not (folder / RECORD).is_file():
            return Lack(f"{folder} holds no network that was trained to its end", "train")
    return None


def _held_out(recipe: Recipe) -> Lack | None:
    folder = recipe.paths.held_out
    if folder is None:
        return Lack("paths.held_out is missing; it names the annotated images to evaluate on")
    return None if folder.is_dir() else Lack(no_folder(folder))


def _scores(recipe: Recipe) -> Lack | None:
    folder = scores_folder(recipe)
    if recipe.paths.held_out is None or (folder / RECORD).is_file():
        return None
    return Lack(f"{folder} holds no scores", "evaluate")


def _page(recipe: Recipe) -> Lack | None:
    folder = dataset_folder(recipe)
    if isinstance(folder, Path) and not open_dataset(folder).interpreter:
        return None  # it was imported, and the page refuses that
    return _interpreter(recipe) or (_scores(recipe) if networks_folder(recipe).is_dir() else None)


_STANDS_ON: dict[str, tuple[Callable[[Recipe], Lack | None], ...]] = {
    "train-ddpm": (_images,),
    "sample": (_painter,),
    "annotate": (_read_by,),
    "fit": (_read_by, _annotated),
    "features": (_read_by, _annotated),
    "generate": (_denoiser, _painter, _read_by, _interpreter, _photographs),
    "train": (_trained_on,),
    "evaluate": (_held_out, _interpreter, _networks),
    "report": (_dataset, _page),
    "segment": (_read_by, _interpreter),
    "export-model": (_network,),
}


def is_there(stage: str, recipe: Recipe) -> bool:
    """Whether the stage has made something for this recipe's folders; which settings made it is not asked."""
    return _IS_THERE[stage](recipe)


def _datasets_are_whole(recipe: Recipe) -> bool:
    folders = [dataset_folder(each) for each in recipe.by_dataset()]
    return all(isinstance(folder, Path) and (folder / INDEX).is_file() for folder in folders)


def _networks_are_there(recipe: Recipe) -> bool:
    folders = [network_folder(recipe, source, seed) for source in sources(recipe) for seed in recipe.train.seeds]
    return bool(folders) and all((folder / RECORD).is_file() for folder in folders)


_IS_THERE: dict[str, Callable[[Recipe], bool]] = {
    "train-ddpm": lambda recipe: _denoiser(recipe) is None,
    "sample": lambda recipe: (samples_folder(recipe) / RECORD).is_file(),
    "fit": lambda recipe: (interpreter_folder(recipe) / RECORD).is_file(),
    "generate": _datasets_are_whole,
    "train": _networks_are_there,
    "evaluate": lambda recipe: (scores_folder(recipe) / RECORD).is_file(),
    "report": lambda recipe: (report_page(recipe).parent / RECORD).is_file(),
}

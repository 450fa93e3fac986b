"""What a recipe names, looked at before any work: files, sizes, classes, masks, blocks, room; needs no torch."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from generate import IMAGE_SUFFIXES, GenerateError, ImageError
from generate.images import open_image
from generate.latent_files import locate_any
from generate.photographs import photograph_paths
from generate.shape import Shape
from label import IGNORE, LabelError
from pipelines.annotated import open_annotations
from pipelines.errors import RecipeError
from pipelines.folders import dataset_folder, painted_folder, photographed_folder, photographs_folder
from pipelines.recipe import Recipe
from pipelines.recognised import to_be_imported
from pipelines.stages.order import has_images
from pipelines.storage import Location
from pipelines.units.painter import painter_files, shape_of_files

_PACKAGES = ("torch", "torchvision", "diffusers", "ray", "segmentation_models_pytorch", "webdataset", "pyarrow")
_OF_STORES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_OPENED = 500  # images of which the size is read
_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """What is so, of a key of the recipe or of this machine."""

    subject: str
    clause: str
    mark: Literal["ok", "not yet", "wrong"] = "ok"


def check(recipe: Recipe) -> list[Finding]:
    """Everything that was looked at; nothing is written or fetched."""
    findings = list(_denoiser(recipe))
    shape, size = _shape(recipe), recipe.train_ddpm.network.size
    findings += _painter(recipe, shape)
    findings += _unlabelled(recipe)
    findings += _to_label(recipe)
    for key in ("annotated", "held_out", "validation"):
        if folder := getattr(recipe.paths, key):
            findings += _masks(recipe, f"paths.{key}", folder, shape.size if shape else (size, size))
    return [*findings, *_room(recipe, shape), *_packages(recipe), _machine()]


def _shape(recipe: Recipe) -> Shape | None:
    """The network's, where its files are on this machine."""
    place = recipe.paths.denoiser
    if not isinstance(place, Path) or not place.exists():
        return None
    try:
        return shape_of_files(locate_any(place, recipe.denoiser.flags))
    except GenerateError:
        return None


def _denoiser(recipe: Recipe) -> Iterator[Finding]:
    place, key = recipe.paths.denoiser, "paths.denoiser"
    if not isinstance(place, Path) or not place.is_absolute():
        yield Finding(key, f"{place}, which is fetched when it is used")
        return
    if not place.exists():
        trained = recipe.paths.unlabelled is not None
        clause = "train-ddpm will write it" if trained else "name a diffusion model, or paths.unlabelled to train one"
        yield Finding(key, f"{place} is not there; {clause}", mark="not yet" if trained else "wrong")
        return
    try:
        shape = shape_of_files(locate_any(place, recipe.denoiser.flags))
    except GenerateError as error:
        yield Finding(key, str(error), mark="wrong")
        return
    yield Finding(key, f"images of {_size(shape.size)} pixels, {shape.blocks} decoder blocks: 0 to {shape.blocks - 1}")
    if outside := [block for block in recipe.interpreter.blocks if block not in range(shape.blocks)]:
        yield Finding("interpreter.blocks", f"{outside} are not among blocks 0 to {shape.blocks - 1}", mark="wrong")


def _painter(recipe: Recipe, read: Shape | None) -> Iterator[Finding]:
    """What paints apart, and whether the denoiser can read what it paints."""
    place, key = recipe.paths.painter, "paths.painter"
    if place is None:
        return
    if not isinstance(place, Path) or not place.is_absolute():
        yield Finding(key, f"{place}, which is fetched when it is used")
        return
    if not place.exists():
        yield Finding(key, f"{place} is not there; name a model that paints", mark="wrong")
        return
    try:
        size = shape_of_files(painter_files(recipe)).size
    except GenerateError as error:
        yield Finding(key, str(error), mark="wrong")
        return
    fits = read is None or read.size == size
    other = "" if read is None or fits else f", paths.denoiser reads {_size(read.size)}; name two models of one size"
    yield Finding(key, f"{recipe.painter.kind}, images of {_size(size)} pixels{other}", mark="ok" if fits else "wrong")


def _unlabelled(recipe: Recipe) -> Iterator[Finding]:
    if folder := recipe.paths.unlabelled:
        purpose = f"cut to squares of {recipe.train_ddpm.network.size}"
        yield from _images("paths.unlabelled", folder, photographs(folder), purpose)


def _to_label(recipe: Recipe) -> Iterator[Finding]:
    """The photographs of a recipe that labels some."""
    key, source = "paths.photographs", recipe.generate.source
    if source.images == "denoiser" or not recipe.makes_dataset:
        return
    try:
        folder = photographs_folder(recipe)
        paths = [folder / path for path in photograph_paths(folder)[: source.photographs]]
    except (RecipeError, GenerateError) as error:
        yield Finding(key, str(error), mark="wrong")
        return
    yield from _images(key, folder, paths, f"to be labelled, fit {source.fit}")


def _images(key: str, folder: Path, paths: list[Path], purpose: str) -> Iterator[Finding]:
    if not paths:
        missing = "holds no images" if folder.is_dir() else "is no folder"
        yield Finding(key, f"{folder} {missing}; images ending in {', '.join(IMAGE_SUFFIXES)} are needed", mark="wrong")
        return
    sizes, broken = sizes_of(paths)
    yield Finding(key, f"{len(paths)} images, {described(sizes)}, {purpose}")
    if broken:
        yield Finding(key, f"{broken[0]} cannot be read, one of {len(broken)}; repair or remove them", mark="wrong")


def photographs(folder: Path) -> list[Path]:
    """All images below a folder, by path."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def sizes_of(paths: list[Path]) -> tuple[list[tuple[int, int]], list[Path]]:
    """Height and width of some hundred images spread over the list, and those that cannot be read."""
    sizes, broken = [], []
    for path in paths[:: 1 + len(paths) // _OPENED]:
        try:
            with open_image(path) as image:
                sizes.append((image.height, image.width))
        except ImageError:
            broken.append(path)
    return sizes, broken


def described(sizes: list[tuple[int, int]]) -> str:
    """All sizes in a few words."""
    if not sizes:
        return "none that can be read"
    smallest, largest = min(sizes), max(sizes)
    return f"{_size(smallest)} pixels" + (f" to {_size(largest)}" if largest != smallest else "")


def _masks(recipe: Recipe, key: str, folder: Path, size: tuple[int, int]) -> Iterator[Finding]:
    if key == "paths.annotated" and not has_images(folder):
        if clause := to_be_imported(folder):
            yield Finding(key, clause, mark="wrong")
            return
        yield Finding(key, f"{folder} holds no images; a few with their masks are needed there", mark="not yet")
        return
    try:
        annotations = open_annotations(recipe, folder, size)
    except (LabelError, GenerateError) as error:
        yield Finding(key, str(error), mark="wrong")
        return
    pixels = np.bincount(annotations.masks.ravel(), minlength=IGNORE + 1)
    labelled, names = int(pixels[:IGNORE].sum()), annotations.scheme.names
    shares = ", ".join(f"{name} {pixels[i] / max(1, labelled):.2%}" for i, name in enumerate(names))
    ignored = pixels[IGNORE] / pixels.sum()
    yield Finding(key, f"{len(annotations.names)} images; {shares}; {ignored:.1%} of all pixels ignored")
    if absent := [name for i, name in enumerate(names) if not pixels[i]]:
        clause = f"no pixel of {', '.join(absent)}; annotate some, or leave it out of the classes"
        yield Finding(key, clause, mark="wrong")


def _room(recipe: Recipe, shape: Shape | None) -> Iterator[Finding]:
    """Whether what is made can be written, and has room."""
    places: dict[str, Location] = {"paths.out": recipe.paths.out, "paths.dataset": painted_folder(recipe)}
    if recipe.generate.source.images != "denoiser":
        places["paths.photographed"] = photographed_folder(recipe)
    if recipe.paths.unlabelled and isinstance(recipe.paths.denoiser, Path):
        places["paths.denoiser"] = recipe.paths.denoiser
    for key, place in places.items():
        if isinstance(place, Path) and not os.access(there := _nearest(place), os.W_OK | os.X_OK):
            yield Finding(key, f"{there} may not be written to; allow it, or name another folder", mark="wrong")
    folder = painted_folder(recipe)
    is_painted = recipe.makes_dataset and recipe.generate.source.images != "photographs"
    if not (is_painted and shape and isinstance(folder, Path)):
        return
    height, width = shape.size
    needed = recipe.generate.samples * (height * width * 3 + height * width // 4 + 4096)  # PNGs that compress badly
    free = shutil.disk_usage(_nearest(folder)).free
    clause = f"{recipe.generate.samples} take at most {needed / _GIB:.1f} GiB, {free / _GIB:.1f} GiB are free"
    yield Finding("generate.samples", clause, mark="wrong" if needed > free else "ok")


def _nearest(place: Path) -> Path:
    """The folder, or the one above it that exists."""
    return next(folder for folder in (place, *place.parents) if folder.is_dir())


def _packages(recipe: Recipe) -> Iterator[Finding]:
    places = [recipe.paths.denoiser, *map(dataset_folder, recipe.by_dataset())]
    protocols = {str(place).partition("://")[0] for place in places}
    needed = [*_PACKAGES, *sorted({_OF_STORES[name] for name in protocols & set(_OF_STORES)})]
    if missing := [name for name in needed if find_spec(name) is None]:
        yield Finding("packages", f"{', '.join(missing)} are not installed; pip install them", mark="wrong")


def _machine() -> Finding:
    """The GPUs with their memory, as their driver's own program says."""
    cores = f"{len(os.sched_getaffinity(0))} cores" if hasattr(os, "sched_getaffinity") else f"{os.cpu_count()} cores"
    if program := shutil.which("nvidia-smi"):
        query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return Finding("this machine", f"{cores}; {'; '.join(done.stdout.strip().splitlines())}")
    return Finding("this machine", f"{cores}, no GPU")


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"

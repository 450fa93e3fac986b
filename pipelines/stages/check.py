"""What a recipe names, looked at before any work: files, sizes, classes, masks, blocks, room; needs no torch."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from generate import GenerateError, ImageError
from generate.images import open_image
from generate.pictures import image_paths
from generate.shape import Shape
from label import IGNORE, LabelError
from pipelines.annotated import open_annotations
from pipelines.errors import RecipeError
from pipelines.files.refusals import without_secrets
from pipelines.files.storage import Location
from pipelines.folders import dataset_folder, painted_folder, photographed_folder, photographs_folder
from pipelines.pictures import pictures
from pipelines.recipe import Recipe
from pipelines.recognised import to_be_imported
from pipelines.stages.check_models import (
    of_denoiser,
    of_painter,
    of_sources,
    reads_words,
    shape_of_denoiser,
    size_trained,
)
from pipelines.stages.finding import Finding, as_text
from pipelines.stages.order import has_images
from pipelines.units.sources import image_size

PACKAGES = ("torch", "torchvision", "diffusers", "ray", "segmentation_models_pytorch", "webdataset", "pyarrow")
OF_STORES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_OPENED = 500  # images of which the size is read
_GIB = 2**30


def check(recipe: Recipe) -> list[Finding]:
    """Everything that was looked at; nothing is written or fetched."""
    findings = [*of_denoiser(recipe), *of_sources(recipe)]
    shape, side = shape_of_denoiser(recipe), size_trained(recipe)
    size = image_size(recipe) if not recipe.interpreter.reads_denoiser else shape.size if shape else (side, side)
    findings += of_painter(recipe, shape)
    findings += _unlabelled(recipe, side)
    findings += _to_label(recipe)
    for key in ("annotated", "held_out", "validation"):
        if folder := getattr(recipe.paths, key):
            findings += _masks(recipe, f"paths.{key}", folder, size)
    return [*findings, *_room(recipe, shape), *_packages(recipe), _machine()]


def _unlabelled(recipe: Recipe, size: int) -> Iterator[Finding]:
    key, place, purpose = "paths.unlabelled", recipe.paths.unlabelled, f"cut to squares of {size}"
    if isinstance(place, str):
        yield Finding(key, f"{without_secrets(place)}, which is listed when it is used, {purpose}")
    elif place and (paths := photographs(place)):
        yield from _images(key, paths, purpose)
    elif place:
        try:
            yield Finding(key, f"{len(pictures(place).found)} images in archives, {purpose}")
        except GenerateError as error:
            yield Finding(key, str(error), mark="wrong")


def _to_label(recipe: Recipe) -> Iterator[Finding]:
    """The photographs of a recipe that labels some."""
    key, source = "paths.photographs", recipe.generate.source
    if source.images == "denoiser" or not recipe.makes_dataset:
        return
    try:
        folder = photographs_folder(recipe)
        paths = image_paths(folder)[: source.photographs]
    except (RecipeError, GenerateError) as error:
        yield Finding(key, str(error), mark="wrong")
        return
    yield from _images(key, paths, f"to be labelled, fit {source.fit}")


def _images(key: str, paths: list[Path], purpose: str) -> Iterator[Finding]:
    sizes, broken = sizes_of(paths)
    yield Finding(key, f"{len(paths)} images, {described(sizes)}, {purpose}")
    if broken:
        yield Finding(key, f"{broken[0]} cannot be read, one of {len(broken)}; repair or remove them", mark="wrong")


def photographs(folder: Path) -> list[Path]:
    """All images below a folder; none where it has none, or is not there."""
    try:
        return image_paths(folder)
    except ImageError:
        return []


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
    return f"{as_text(smallest)} pixels" + (f" to {as_text(largest)}" if largest != smallest else "")


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
    needed = [*PACKAGES, *sorted({OF_STORES[name] for name in protocols & set(OF_STORES)})]
    needed += ["transformers"] if reads_words(recipe) else []
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

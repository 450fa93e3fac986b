"""A recipe and a scheme to begin with, from a folder of photographs or a diffusion model."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from generate import ImageError
from generate.identity import STATE_DICTS
from generate.latent_files import LatentFiles, locate_any
from generate.settings import Network, Training
from generate.shape import Shape
from pipelines.errors import RecipeError
from pipelines.files.storage import write_whole
from pipelines.files.writable import must_be_writable
from pipelines.progress import duration
from pipelines.stages.check import described, photographs, sizes_of
from pipelines.units.painter import shape_of_files

_SECONDS = 3.0  # of a measurement
_SIDES = (16, 32, 64, 128, 256)  # that a network is trained at
_FEWEST = 2_000  # updates, where a slow machine does fewer in an hour
_ON_CPU = 64  # the largest of them that a processor trains in hours

_SCHEME = """\
# The classes, from id 0 on: what has value 0 in a mask is the first. A pixel of value 255 has no class and is ignored.
# Masks lie beside their images, NAME.png and NAME.mask.png. `color`, in red, green and blue, is for pictures of masks.
classes = [
    { name = "background", color = [0, 0, 0] },
    { name = "thing", color = [240, 163, 255] },
]
"""
_RECIPE = """\
# Every key with its default is in docs/RECIPE.md; `datasetddpm check` says what is ready and what comes next.
name = {name}

[paths]  # relative ones start at the folder of this file
out = "out"  # all that is made
denoiser = {denoiser}  # the diffusion model: {model}
{others}annotated = "annotated"  # a few images, each NAME.png with its NAME.mask.png; the classes in scheme.toml
# held_out = "held_out"  # others, which nothing is trained on, for the scores; with a copy of scheme.toml
{section}
[interpreter]
blocks = {blocks}  # of the model's {count} decoder blocks, 0 to {last}: later ones are finer
min_class_pixels = 1  # raise it where specks of a class are mistakes

[generate]
samples = 1_000  # candidates; a larger number goes on from what is there
portion = 0.0  # the most uncertain share of them, which is dropped; published is 0.1
{train}"""
_TRAIN_DDPM = """
[train_ddpm]
size = {size}  # pixels; images are cut to their central square
channels = {channels}
updates = {updates:_}  # about {duration} on this machine, where an update took {seconds:.2f} s
# mirror = true  # doubles the images, where a mirrored one is as likely
"""
_PAINTER = """
[painter]
kind = "latent"  # docs/PAINTERS.md
"""
_WORDS = """\
prompts = ["a photo"]  # of what: name your domain; with several, each paints as many samples
"""
_TRAIN = """
[train]  # small enough for a processor; without these keys it is the published network, for a GPU
variant = "v3+"
encoder = "mobilenet_v2"
encoder_depth = 3
output_stride = 16
decoder_channels = 64
atrous_rates = [1, 2, 4]
steps = 500
learning_rate = 3e-3
schedule = "cosine"
"""


@dataclass(frozen=True)
class Denoiser:
    """What a recipe says of the diffusion model."""

    place: str
    clause: str
    shape: Shape
    photographs: str = ""  # their folder, where it is to be trained
    section: str = ""  # [train_ddpm], or [painter]
    paints_apart: bool = False  # a latent diffusion model, which is named as painter, too


def init(folder: Path, images: Path | None, model: str | None) -> tuple[Path, Path]:
    """Write recipe.toml and annotated/scheme.toml into the folder. Raises RecipeError where one of them is there."""
    recipe, scheme = folder / "recipe.toml", folder / "annotated" / "scheme.toml"
    is_ours = scheme.is_file() and scheme.read_bytes() == _SCHEME.encode()  # as a disk that was full left it
    if there := [str(path) for path in (recipe, scheme) if path.exists() and not (path == scheme and is_ours)]:
        raise RecipeError(f"{', '.join(there)}: there already; name another folder, or remove it")
    if (images is None) == (model is None):
        raise RecipeError("photographs or a model are needed, one of them: --images FOLDER, or --model PLACE")
    denoiser = _trained_on(images, folder) if images else _that_exists(str(model), folder)
    must_be_writable(scheme.parent)
    write_whole(scheme, _SCHEME.encode())
    write_whole(recipe, _written(folder, denoiser).encode())
    return recipe, scheme


def _written(folder: Path, denoiser: Denoiser) -> str:
    count = denoiser.shape.blocks
    blocks = [5, 6, 7, 8, 12] if count >= 18 else list(range(max(0, count - 5), count))
    others = f"painter = {_quoted(denoiser.place)}  # the same paints\n" if denoiser.paints_apart else ""
    if denoiser.photographs:
        others += f"unlabelled = {_quoted(denoiser.photographs)}  # the images that train-ddpm trains it on\n"
    return _RECIPE.format(
        name=_quoted(folder.resolve().name),
        denoiser=_quoted(denoiser.place),
        model=denoiser.clause,
        others=others,
        section=denoiser.section,
        blocks=blocks,
        count=count,
        last=count - 1,
        train=_TRAIN if max(denoiser.shape.size) <= _ON_CPU else "",
    )


def _that_exists(model: str, folder: Path) -> Denoiser:
    local = Path(model).exists() or model.endswith(STATE_DICTS)
    files = locate_any(Path(model) if local else model, None)
    shape = shape_of_files(files)
    place = _seen_from(folder, Path(model)) if local else model
    clause = f"images of {shape.size[1]}x{shape.size[0]} pixels"
    if not isinstance(files, LatentFiles):
        return Denoiser(place, clause, shape)
    section = _PAINTER + (_WORDS if files.reads_words else "")
    return Denoiser(place, clause, shape, section=section, paints_apart=True)


def _trained_on(images: Path, folder: Path) -> Denoiser:
    """A network that fits the images and this machine, and as many updates as it does in an hour."""
    sizes, _ = sizes_of(paths := photographs(images))
    if not sizes:
        raise ImageError(f"{images} holds no images that can be read; photographs of one domain are needed there")
    import torch  # here, since a model that exists needs no measurement

    largest = _SIDES[-1] if torch.cuda.is_available() else _ON_CPU
    shorter = sorted(min(size) for size in sizes)[len(sizes) // 2]
    side = max([side for side in _SIDES if side <= min(shorter, largest)], default=_SIDES[0])
    channels = (16, 48, 96, 128) if side <= _ON_CPU else (64, 128, 192, 256)
    network = Network(size=side, channels=channels)
    seconds = _seconds_of_an_update(network, paths)
    updates = max(_FEWEST, round(3600 / seconds / 100) * 100)
    section = _TRAIN_DDPM.format(
        size=side, channels=list(channels), updates=updates, seconds=seconds, duration=duration(updates * seconds)
    )
    clause = f"train-ddpm writes it there, from {len(paths)} images of {described(sizes)}"
    shape = Shape((side, side), len(channels), network.layers)
    return Denoiser("model", clause, shape, _seen_from(folder, images), section)


def _seconds_of_an_update(network: Network, paths: list[Path]) -> float:
    """The median over a few seconds of them."""
    from generate import Schedule
    from generate.train import build_unet, train, trainee
    from pipelines.units.devices import device

    settings = Training(updates=1_000_000, checkpoint_every=1_000_000)
    unet = build_unet(network, settings.seed)
    unet.to(device())  # type: ignore[call-overload]
    with TemporaryDirectory() as folder:
        updates = train(
            trainee(unet, settings), Schedule.named("cosine", "v_prediction"), paths, settings, Path(folder) / "none"
        )
        seconds: list[float] = []
        while sum(seconds) < _SECONDS:
            start = time.perf_counter()
            next(updates)
            seconds.append(time.perf_counter() - start)
    return median(seconds)


def _seen_from(folder: Path, place: Path) -> str:
    """Relative where it lies in the recipe's folder, so that both may be moved together."""
    whole, base = place.resolve(), folder.resolve()
    return str(whole.relative_to(base)) if whole.is_relative_to(base) else str(whole)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

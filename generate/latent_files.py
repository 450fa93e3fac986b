"""The files of a latent diffusion model and what they tell unopened. Nothing here needs torch.

A diffusers folder whose model_index.json names a pipeline that paints in the latents of an autoencoder.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from generate.errors import CheckpointError
from generate.guided_flags import Flags
from generate.identity import HUB_ID, DiffusersFiles, StateDict, from_hub, locate
from generate.shape import Shape
from generate.stored import TOLERANT, StoredError, stored, stored_tree

INDEX = "model_index.json"
PLAIN, WORDS = ("unet", "vqvae"), ("unet", "vae", "text_encoder", "tokenizer")
PIPELINES = {
    "LDMPipeline": PLAIN,
    "LatentDiffusionUncondPipeline": PLAIN,  # what LDMPipeline was called
    "StableDiffusionPipeline": WORDS,
    "AltDiffusionPipeline": WORDS,
}
"""The pipelines that are known, with the folders of which a model consists."""
SCHEDULERS = (
    *("DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete"),
    *("DEISMultistep", "DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep"),
)
"""Schedulers whose configuration is a DDPM's noise schedule; each followed by Scheduler."""
_NAMES = {"text_encoder": ("model.safetensors", "pytorch_model.bin")}
_DIFFUSERS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
_TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "sentencepiece.bpe.model")
Side = Annotated[int, Field(ge=1, le=2**14)]


@dataclass(frozen=True)
class _Index:
    """What model_index.json says."""

    __pydantic_config__ = TOLERANT

    _class_name: str


@dataclass(frozen=True)
class _Network:
    """What of config.json a recipe must fit."""

    __pydantic_config__ = TOLERANT

    in_channels: Annotated[int, Field(ge=1, le=2**14)]
    sample_size: Side
    block_out_channels: Annotated[list[Side], Field(min_length=1, max_length=16)]
    layers_per_block: Annotated[int, Field(ge=1, le=64)]
    addition_embed_type: str | None = None


@dataclass(frozen=True)
class _Autoencoder:
    """What of the autoencoder's config.json says how its latents are."""

    __pydantic_config__ = TOLERANT

    latent_channels: Annotated[int, Field(ge=1, le=2**14)]
    block_out_channels: Annotated[list[Side], Field(min_length=1, max_length=16)]


@dataclass(frozen=True)
class _Scheduler:
    """What scheduler_config.json says of the noise."""

    __pydantic_config__ = TOLERANT

    _class_name: str
    num_train_timesteps: Annotated[int, Field(ge=1, le=10**6)] = 1000


@dataclass(frozen=True)
class LatentFiles:
    """The folder of a latent diffusion model that is whole; its parts lie in folders of it."""

    folder: Path
    parts: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> "LatentFiles":
        """Raises CheckpointError where it is of another kind, or a part of it is missing."""
        pipeline = _pipeline(folder)
        if pipeline not in PIPELINES:
            raise CheckpointError(f"{folder} is a {pipeline}{_why_not(pipeline)}; known are {', '.join(PIPELINES)}")
        files = cls(folder, PIPELINES[pipeline])
        files._all()
        files.check()
        return files

    @property
    def reads_words(self) -> bool:
        return "text_encoder" in self.parts

    @property
    def autoencoder(self) -> str:
        return self.parts[1]

    @property
    def scheduler(self) -> Path:
        return self._first("scheduler", "scheduler_config.json")

    def config(self, part: str) -> Path:
        return self._first(part, "tokenizer_config.json" if part == "tokenizer" else "config.json")

    def weights(self, part: str) -> Path:
        """The file of a network's tensors; of a tokenizer, of its words."""
        return self._first(part, *(_TOKENIZER if part == "tokenizer" else _NAMES.get(part, _DIFFUSERS)))

    def _first(self, part: str, *names: str) -> Path:
        found = next((path for name in names if (path := self.folder / part / name).is_file()), None)
        if found is None:
            raise CheckpointError(
                f"{self.folder} is not whole: {part}/ holds no {' and no '.join(names)}; fetch all of the model again"
            )
        return found

    def check(self) -> None:
        """Raise CheckpointError for a network that this model's parts do not paint with."""
        network = _said(self.config("unet"), _Network)
        latents = _said(self.config(self.autoencoder), _Autoencoder).latent_channels
        if network.addition_embed_type is not None:
            raise CheckpointError(
                f"{self.folder} has a UNet that wants more than a prompt ({network.addition_embed_type}), as SDXL's "
                "does; take Stable Diffusion 1 or 2"
            )
        if network.in_channels != latents:
            what = "an inpainting model" if network.in_channels == 2 * latents + 1 else "of another kind"
            raise CheckpointError(
                f"{self.folder} is {what}: its UNet takes {network.in_channels} channels, its latents have {latents}; "
                "take a model that paints from noise alone"
            )
        scheduler = _said(self.scheduler, _Scheduler)
        if scheduler._class_name.removesuffix("Scheduler") not in SCHEDULERS:
            raise CheckpointError(
                f"{self.scheduler}: scheduler {scheduler._class_name} is not known, whose noise may be no DDPM's; "
                f"known are {', '.join(SCHEDULERS)}, each followed by Scheduler"
            )

    def shape(self) -> Shape:
        """Size of the images, and levels and layers of the UNet."""
        network = _said(self.config("unet"), _Network)
        halved = len(_said(self.config(self.autoencoder), _Autoencoder).block_out_channels) - 1
        side = network.sample_size * 2**halved
        return Shape((side, side), len(network.block_out_channels), network.layers_per_block)

    def timesteps(self) -> int:
        return _said(self.scheduler, _Scheduler).num_train_timesteps

    def digest(self) -> str:
        """sha256 over the contents of all that an image depends on; where the files lie does not matter."""
        whole = hashlib.sha256()
        for path in self._all():
            whole.update(path.relative_to(self.folder).as_posix().encode())
            with open(path, "rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()

    def _all(self) -> Sequence[Path]:
        words = [path for name in _TOKENIZER if (path := self.folder / "tokenizer" / name).is_file()]
        both = [path for part in self.parts for path in (self.config(part), self.weights(part))]
        return sorted({self.scheduler, *both, *(words if self.reads_words else ())})


def is_latent(folder: Path) -> bool:
    """Whether a folder is of a pipeline with an autoencoder, one that cannot be opened here included."""
    if not (folder / INDEX).is_file():
        return False
    try:
        parts = stored_tree((folder / INDEX).read_bytes())
    except (StoredError, OSError):
        return False
    return "vae" in parts or "vqvae" in parts


def locate_any(source: str | Path, flags: Flags | None) -> StateDict | DiffusersFiles | LatentFiles:
    """The files of a denoiser, as `locate` has them, or of a latent diffusion model, whatever lies there.

    Raises CheckpointError.
    """
    if flags is None and is_latent(Path(source)):
        return locate_latent(source)
    files = locate(source, flags)
    if isinstance(files, DiffusersFiles) and is_latent(files.folder):  # of the Hub
        return locate_latent(source)
    return files


def locate_latent(source: str | Path) -> LatentFiles:
    """The files of a folder, or of a Hub id, which are fetched if need be. Raises CheckpointError."""
    folder = Path(source)
    if not folder.exists() and HUB_ID.fullmatch(str(source)):
        folder = _from_hub(str(source))
    return LatentFiles.of(folder)


def _from_hub(name: str) -> Path:
    """A snapshot without what is not needed: copies of the weights in other forms, a safety checker."""
    pipeline = _pipeline(from_hub(name, (INDEX,)))
    parts, configs = PIPELINES.get(pipeline, ()), ["*.json", "tokenizer/*"]
    for form in (0, 1):  # safetensors, or what torch.save wrote
        folder = from_hub(name, [*configs, *(f"{part}/{_NAMES.get(part, _DIFFUSERS)[form]}" for part in parts)])
        if all(any((folder / part).glob("*model.*")) for part in parts if part != "tokenizer"):
            break
    return folder


def _pipeline(folder: Path) -> str:
    if not (folder / INDEX).is_file():
        raise CheckpointError(f"{folder} holds no {INDEX}; the diffusers folder of a latent diffusion model is needed")
    return _said(folder / INDEX, _Index)._class_name


def _why_not(pipeline: str) -> str:
    if "XL" in pipeline:
        return ", whose two text encoders are not read here"
    return ", which paints into an image that is given" if "Inpaint" in pipeline else ""


def _said(path: Path, kind: type) -> Any:
    try:
        return stored(path.read_bytes(), kind)
    except (StoredError, OSError) as error:
        raise CheckpointError(f"{path} does not describe a latent diffusion model: {error}") from error

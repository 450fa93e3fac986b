"""Feature sources: images to maps at native resolution."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import save_file
from torch import Tensor

from generate import Denoiser
from generate.activations import DecoderBlock, Where
from generate.pixels import to_model
from generate.seeds import draw, generator
from label.errors import FittingError, LabelError
from label.feature_records import check_denoiser, features_digest, features_record, place_of_denoiser, stored_noise


@runtime_checkable
class FeatureSource(Protocol):
    """What an interpreter reads images through."""

    @property
    def digest(self) -> str:
        """Names the source: two with the same digest give the same maps."""
        ...

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images it takes."""
        ...

    @property
    def channels(self) -> int:
        """Of all maps together: the features of a pixel."""
        ...

    def maps(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps at their own resolutions, always in the same order and of the same channels."""
        ...

    def save_pretrained(self, folder: Path) -> None:
        """Write what is needed, weights aside, to make the same maps again."""
        ...


class DenoiserFeatures:
    """Decoder activations of a denoiser at a few noise levels (arXiv 2112.03126, section 4).

    Every image is noised with the same `noise` [n, c, h, w], at every step and in every phase; maps are the mean over
    its n noises. They are ordered by step first, then by block. Raises ValueError for a step or block that the denoiser
    does not have.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        steps: Sequence[int] = (50, 150, 250),
        blocks: Sequence[int] = (5, 6, 7, 8, 12),
        where: Where = "output",
        noise: Float[Tensor, "n c h w"] | None = None,
        noises: int = 1,
    ) -> None:
        denoiser.check_blocks(blocks)
        must_be_steps(steps, len(denoiser.schedule))
        shape = denoiser.image_shape
        noise = draw([generator(0, i) for i in range(noises)], shape) if noise is None else noise.float().cpu()
        if noise.ndim != 4 or not len(noise) or noise.shape[1:] != shape:
            raise LabelError(f"noise is {list(noise.shape)}; one image of the denoiser's is {[1, *shape]}")
        self.denoiser, self.steps, self.blocks = denoiser, tuple(steps), tuple(blocks)
        self.where: Where = where
        self.noise = noise

    @property
    def image_size(self) -> tuple[int, int]:
        return self.denoiser.image_shape[1:]

    @property
    def channels(self) -> int:
        return len(self.steps) * channels_of(self.denoiser.blocks, self.blocks, self.where)

    @property
    def digest(self) -> str:
        return features_digest(self.denoiser.digest, self.steps, self.blocks, self.where, self.noise.numpy())

    def maps(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Float[Tensor, "b _ _ _"]]:
        """A GPU runs all steps of a noise as one batch of the decoder, which ends at the last wanted block.

        A processor runs a step at a time: the maps of more would leave its caches.
        """
        total, *others = (self._maps(images, noise[None]) for noise in self.noise)
        for maps in others:
            total = [a + b for a, b in zip(total, maps, strict=True)]
        return [each / len(self.noise) for each in total] if others else total

    def _maps(self, images: UInt8[np.ndarray, "b h w 3"], noise: Float[Tensor, "1 c h w"]) -> list[Tensor]:
        together = [[t] for t in self.steps] if self.denoiser.device.type == "cpu" else [list(self.steps)]
        return [each for steps in together for each in self._maps_at(steps, images, noise)]

    def _maps_at(
        self, steps: list[int], images: UInt8[np.ndarray, "b h w 3"], noise: Float[Tensor, "1 c h w"]
    ) -> Iterator[Tensor]:
        device = self.denoiser.device
        x_0 = to_model(images).to(device).repeat(len(steps), 1, 1, 1)
        t = torch.tensor(steps, device=device).repeat_interleave(len(images))
        x_t = self.denoiser.add_noise(x_0, t, noise.to(device))
        by_block = self.denoiser.activations(x_t, t, self.blocks, self.where)
        return by_step_first(by_block, len(steps))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write features.json and features.safetensors into a folder that is there."""
        source = self.denoiser.source
        record = {
            "denoiser": self.denoiser.digest,
            "source": source and asdict(source),  # the digest says whether the same is there still
            "steps": self.steps,
            "blocks": self.blocks,
            "where": self.where,
        }
        write_stored(Path(folder), "features", record, {"noise": self.noise})

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, denoiser: Denoiser | None = None, *, device: str | torch.device = "cpu"
    ) -> "DenoiserFeatures":
        """The features that were saved in `folder`; without a denoiser, it is opened from where it was at the time.

        Raises InterpreterError for a folder without features and for a denoiser other than theirs, CheckpointError
        where the denoiser cannot be opened.
        """
        folder = Path(folder)
        record = features_record(folder)
        if denoiser is None:
            path, flags = place_of_denoiser(folder, record)
            denoiser = Denoiser.from_pretrained(path, flags=flags, device=device)
        check_denoiser(folder, record, denoiser.digest)
        noise = torch.from_numpy(stored_noise(folder))
        where = cast(Where, record["where"])
        return cls(denoiser, steps=record["steps"], blocks=record["blocks"], where=where, noise=noise)


def must_be_steps(steps: Sequence[int], timesteps: int) -> None:
    """Raises LabelError for steps that a schedule of so many does not have, and for none."""
    if not steps or any(not 0 <= t < timesteps for t in steps):
        raise LabelError(f"steps {list(steps)}: 0 to {timesteps - 1} are possible, at least one is needed")


def channels_of(decoder: Sequence[DecoderBlock], blocks: Sequence[int], where: Where) -> int:
    """Of these blocks' maps together: of an input what its first convolution is told, of an output what that makes."""
    of_block = "in_channels" if where == "input" else "out_channels"
    return sum(cast(int, getattr(decoder[block].first, of_block)) for block in blocks)


def by_step_first(by_block: Sequence[Float[Tensor, "_ _ _ _"]], steps: int) -> Iterator[Float[Tensor, "b _ _ _"]]:
    """Maps of a batch that holds all images at each of so many steps, ordered by step, then by block."""
    return itertools.chain.from_iterable(zip(*(maps.chunk(steps) for maps in by_block), strict=True))


def write_stored(folder: Path, name: str, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a part of an interpreter's folder: its tensors as name.safetensors, and last its record as name.json."""
    if wrong := [key for key, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise FittingError(f"{wrong[0]} of the interpreter is not finite; lower interpreter.learning_rate")
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")

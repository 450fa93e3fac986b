"""Feature sources: images to maps at native resolution, and the features of single pixels gathered from them."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from generate import Denoiser
from generate.denoiser import Where
from generate.pixels import to_model
from generate.seeds import draw, generator
from label.errors import InterpreterError, LabelError
from label.settings import Upsampling
from label.stored import stored_record, stored_tensors


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

    Every image is noised with the same `noise` [1, c, h, w], at every step and in every phase. Maps are ordered by
    step first, then by block. Raises ValueError for a step or block that the denoiser does not have.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        steps: Sequence[int] = (50, 150, 250),
        blocks: Sequence[int] = (5, 6, 7, 8, 12),
        where: Where = "output",
        noise: Float[Tensor, "1 c h w"] | None = None,
    ) -> None:
        denoiser.check_blocks(blocks)
        unknown = [t for t in steps if not 0 <= t < len(denoiser.schedule)]
        if unknown or not steps:
            raise LabelError(
                f"steps {list(steps)}: 0 to {len(denoiser.schedule) - 1} are possible, at least one is needed"
            )
        shape = denoiser.image_shape
        noise = draw([generator(0, 0)], shape) if noise is None else noise.float().cpu()
        if noise.shape != (1, *shape):
            raise LabelError(f"noise is {list(noise.shape)}; one image of the denoiser's is {[1, *shape]}")
        self.denoiser, self.steps, self.blocks = denoiser, tuple(steps), tuple(blocks)
        self.where: Where = where
        self.noise = noise

    @property
    def image_size(self) -> tuple[int, int]:
        return self.denoiser.image_shape[1:]

    @property
    def channels(self) -> int:
        of_block = "in_channels" if self.where == "input" else "out_channels"
        firsts = (self.denoiser.blocks[block].first for block in self.blocks)
        return len(self.steps) * sum(cast(int, getattr(first, of_block)) for first in firsts)

    @property
    def digest(self) -> str:
        settings = json.dumps([self.denoiser.digest, self.steps, self.blocks, self.where])
        return hashlib.sha256(settings.encode() + self.noise.numpy().tobytes()).hexdigest()

    def maps(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Float[Tensor, "b _ _ _"]]:
        """All steps run as one batch of the decoder, which ends at the last wanted block."""
        device = self.denoiser.device
        x_0 = to_model(images).to(device).repeat(len(self.steps), 1, 1, 1)
        t = torch.tensor(self.steps, device=device).repeat_interleave(len(images))
        x_t = self.denoiser.add_noise(x_0, t, self.noise.to(device))
        by_block = self.denoiser.activations(x_t, t, self.blocks, self.where)
        by_step = zip(*(block_maps.chunk(len(self.steps)) for block_maps in by_block), strict=True)
        return [found for step_maps in by_step for found in step_maps]

    def save_pretrained(self, folder: Path) -> None:
        source = self.denoiser.source
        record = {
            "denoiser": self.denoiser.digest,
            "source": source and asdict(source),  # where it was found; its digest says whether it is the one
            "steps": self.steps,
            "blocks": self.blocks,
            "where": self.where,
        }
        (folder / "features.json").write_text(json.dumps(record, indent=2) + "\n")
        save_file({"noise": self.noise}, folder / "features.safetensors")

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, denoiser: Denoiser | None = None, *, device: str | torch.device = "cpu"
    ) -> "DenoiserFeatures":
        """The features that were saved in `folder`; without a denoiser, that from where it was opened at the time.

        Raises InterpreterError for those of another denoiser, CheckpointError when it cannot be opened.
        """
        folder = Path(folder)
        if not (folder / "features.json").is_file():
            raise InterpreterError(f"{folder} holds no interpreter; fit one first")
        record = stored_record(folder / "features.json")
        if denoiser is None:
            if not (source := record.get("source")):
                raise InterpreterError(f"{folder} does not say where its denoiser is; open it and name it")
            denoiser = Denoiser.from_pretrained(source["path"], flags=source["flags"], device=device)
        if record["denoiser"] != denoiser.digest:
            raise InterpreterError(
                f"the interpreter in {folder} was fitted on denoiser {record['denoiser'][:12]}, this one is "
                f"{denoiser.digest[:12]}; fit it again, or open the denoiser that it was fitted on"
            )
        noise = stored_tensors(folder / "features.safetensors")["noise"]
        where = cast(Where, record["where"])
        return cls(denoiser, steps=record["steps"], blocks=record["blocks"], where=where, noise=noise)


@dataclass(frozen=True)
class PixelSource:
    """Maps of many images, from which the features of single pixels are gathered without upsampling the rest."""

    maps: list[Float[Tensor, "n _ _ _"]]  # [n, h, w, c]: channels last, so that a tap is one row
    size: tuple[int, int]  # height and width of the images
    upsampling: Upsampling = "bilinear"
    scales: list[Float[Tensor, " _"]] | None = None  # a map's channels are multiplied by these,
    shifts: list[Float[Tensor, " _"]] | None = None  # and these are added, where they are gathered

    @classmethod
    def of(
        cls,
        source: FeatureSource,
        images: UInt8[np.ndarray, "n h w 3"],
        *,
        upsampling: Upsampling = "bilinear",
        batch_size: int = 8,
        memory_budget: int | None = None,
        device: str | torch.device = "cpu",
    ) -> "PixelSource":
        """Maps of all images in half precision, on `device`, or in a mapped file where they exceed the budget.

        `memory_budget` is in bytes; None is no limit. The file lies in the system's temporary folder (TMPDIR) and
        vanishes with the process. Raises OSError where there is no room for it.
        """
        kept: list[Tensor] = []
        for start in range(0, len(images), batch_size):
            found = source.maps(images[start : start + batch_size])
            if not kept:
                shapes = [(len(images), *m.shape[2:], m.shape[1]) for m in found]
                size = 2 * sum(math.prod(shape) for shape in shapes)
                fits = memory_budget is None or size <= memory_budget
                kept = [torch.empty(s, dtype=torch.half, device=device) if fits else _mapped(s) for s in shapes]
            for whole, part in zip(kept, found, strict=True):
                whole[start : start + len(part)] = part.permute(0, 2, 3, 1)
        return cls(kept, source.image_size, upsampling)

    @property
    def channels(self) -> int:
        return sum(m.shape[-1] for m in self.maps)

    @property
    def bytes(self) -> int:
        return sum(m.nbytes for m in self.maps)

    def standardised(self) -> "PixelSource":
        """The same maps, gathered with mean 0 and deviation 1 in every channel; nothing is copied."""
        scales, shifts = [], []
        for native in self.maps:
            mean = torch.stack([image.float().mean((0, 1)) for image in native]).mean(0)
            variances = [(image.float() - mean).square().mean((0, 1)) for image in native]
            deviation = torch.stack(variances).mean(0).sqrt()
            floor = 1e-3 * deviation.mean() + 1e-12  # a channel that hardly varies is not blown up
            scales.append(1 / (deviation + floor))
            shifts.append(-mean * scales[-1])
        return replace(self, scales=scales, shifts=shifts)

    def gather(
        self, image: Int[Tensor, "*p"], row: Int[Tensor, "*p"], column: Int[Tensor, "*p"]
    ) -> Float[Tensor, "*p channels"]:
        """What upsampling of all maps gives at these pixels, in float32 and where the maps are."""
        image, row, column = (places.to(self.maps[0].device) for places in (image, row, column))
        resolutions = [(m.shape[1], m.shape[2]) for m in self.maps]
        taken = {native: self._taken(native, image, row, column) for native in set(resolutions)}
        found = [
            self._sums(native_map, *taken[native]).unflatten(0, image.shape)
            for native_map, native in zip(self.maps, resolutions, strict=True)
        ]
        if self.scales is not None and self.shifts is not None:
            scalings = zip(found, self.scales, self.shifts, strict=True)
            found = [torch.addcmul(shift, features, scale) for features, scale, shift in scalings]
        return torch.cat(found, dim=-1)

    def _taken(
        self, native: tuple[int, int], image: Tensor, row: Tensor, column: Tensor
    ) -> tuple[Int[Tensor, "p taps"], Float[Tensor, "p taps"] | None]:
        """Of a native resolution, the places that each pixel is made of, and their shares where they are several."""
        height, width = native
        image, row, column = image.flatten(), row.flatten(), column.flatten()
        first_places = image * (height * width)
        if native == self.size or self.upsampling == "nearest":
            places = first_places + nearest(row, height, self.size[0]) * width + nearest(column, width, self.size[1])
            return places.unsqueeze(-1), None
        top, bottom, down = taps(row, height, self.size[0])
        left, right, across = taps(column, width, self.size[1])
        top, bottom = first_places + top * width, first_places + bottom * width
        places = torch.stack([top + left, top + right, bottom + left, bottom + right], dim=-1)
        above, below = 1 - down, down
        shares = torch.stack([above * (1 - across), above * across, below * (1 - across), below * across], dim=-1)
        return places, shares.to(self.maps[0])

    def _sums(
        self, native: Tensor, places: Int[Tensor, "p taps"], shares: Float[Tensor, "p taps"] | None
    ) -> Float[Tensor, "p channels"]:
        rows = native.flatten(0, 2)
        if shares is None:
            return rows[places.squeeze(-1)].float()
        return F.embedding_bag(places, rows, mode="sum", per_sample_weights=shares).float()


def _mapped(shape: tuple[int, ...]) -> Float[Tensor, "..."]:
    """An empty half-precision tensor in a file that has no name any more, so that it ends with its last user."""
    with tempfile.NamedTemporaryFile(prefix="datasetddpm-maps-") as file:
        os.posix_fallocate(file.fileno(), 0, 2 * math.prod(shape))
        flat = torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=torch.half)
    return flat.view(shape)


def taps(position: Int[Tensor, "*p"], native: int, full: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two native rows that a row of the full image lies between, and how far it is towards the second."""
    exact = ((position + 0.5) * (native / full) - 0.5).clamp(0, native - 1)
    first = exact.floor().long()
    return first, (first + 1).clamp_max(native - 1), (exact - first).float()


def nearest(position: Int[Tensor, "*p"], native: int, full: int) -> Int[Tensor, "*p"]:
    """The native row that a row of the full image repeats, rounded in float32 as F.interpolate rounds it."""
    return (position.float() * (native / full)).floor().long().clamp_max(native - 1)

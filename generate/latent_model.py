"""A latent diffusion model (arXiv 2112.10752), opened: an autoencoder, a UNet that paints its latents, and words.

Unconditional ones (VQModel, UNet2DModel), and those that a text encoder tells what to paint (AutoencoderKL,
UNet2DConditionModel, CLIP's encoder or AltDiffusion's multilingual one). No safety checker is opened.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel, VQModel
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from generate.activations import DecoderBlock, Where, activations, decoder_blocks, must_be_blocks
from generate.denoiser import Source
from generate.errors import CheckpointError, GenerateError
from generate.identity import read_json
from generate.latent_files import LatentFiles, locate_latent
from generate.latent_parts import open_network
from generate.pixels import to_model
from generate.schedule import Schedule
from generate.settings import CompileMode
from generate.words import WordReader

_REMEMBERED = 256  # prompts whose embeddings are kept


class LatentModel(nn.Module):
    """The networks of a latent diffusion model, the schedule it was trained on, and a digest that names all files.

    Decoder blocks of the UNet are counted from 0 at the lowest resolution, as a denoiser's.
    """

    def __init__(
        self,
        unet: UNet2DModel | UNet2DConditionModel,
        autoencoder: AutoencoderKL | VQModel,
        words: WordReader | None,
        scheduler: dict[str, Any],
        digest: str,
    ) -> None:
        super().__init__()
        self.unet = unet.requires_grad_(False).eval()
        self.autoencoder = autoencoder.requires_grad_(False).eval()
        self.words, self.scheduler, self.digest = words, scheduler, digest
        self.schedule = Schedule.from_diffusers(scheduler)
        self.compiled: CompileMode | None = None
        self.source: Source | None = None  # None for weights that were not opened from anywhere
        self._embedded: dict[str, Tensor] = {}

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
    ) -> "LatentModel":
        """Open a diffusers folder or a Hub id; dtype None means float32. Raises CheckpointError in one sentence."""
        files = locate_latent(source)
        opened = cls.of(files, torch.device(device), dtype or torch.float32)
        path = Path(source)
        opened.source = Source(str(path.resolve() if path.exists() else source), None)
        return opened

    @classmethod
    def of(cls, files: LatentFiles, device: torch.device, dtype: torch.dtype) -> "LatentModel":
        kind, coder = (UNet2DConditionModel, AutoencoderKL) if files.reads_words else (UNet2DModel, VQModel)
        unet: Any = open_network(kind, files, "unet", device, dtype)
        autoencoder: Any = open_network(coder, files, files.autoencoder, device, dtype)
        words = WordReader.of(files, device, dtype) if files.reads_words else None
        scheduler = read_json(files.scheduler)
        try:
            return cls(unet, autoencoder, words, scheduler, files.digest())
        except (ValueError, TypeError, NotImplementedError) as error:
            raise CheckpointError(f"{files.scheduler} is no noise schedule that is known: {error}") from error

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its latents."""
        side = int(self.unet.config["sample_size"])
        return int(self.unet.config["in_channels"]), side, side

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its images."""
        _, height, width = self.latent_shape
        factor = 2 ** (len(self.autoencoder.config["block_out_channels"]) - 1)
        return 3, height * factor, width * factor

    @property
    def _scale(self) -> float:
        """By which latents are multiplied, so that they have a deviation near 1."""
        return float(self.autoencoder.config["scaling_factor"])

    @torch.no_grad()
    def encode(self, images: UInt8[np.ndarray, "b _ _ 3"]) -> Float[Tensor, "b c h w"]:
        """The latents of images, one by one: a distribution's mode, or what is not yet rounded to a codebook."""
        pixels = to_model(images).to(self.device, self.dtype)
        latents = []
        for image in pixels.split(1):
            coded: Any = self.autoencoder.encode(image)
            latents.append(coded.latents if isinstance(self.autoencoder, VQModel) else coded.latent_dist.mode())
        return torch.cat(latents).float() * self._scale

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 _ _"]:
        """The images, about [-1, 1], one by one: full size takes far more memory than latents do."""
        scaled = (latents / self._scale).to(self.dtype)
        images: list[Any] = [self.autoencoder.decode(each).sample for each in scaled.split(1)]  # type: ignore[arg-type]
        return torch.cat(images).float()

    def embedded(self, texts: Sequence[str]) -> Float[Tensor, "b tokens width"] | None:
        """What the UNet is told of each text, which is read alone; None for a model that reads no words."""
        if self.words is None:
            return None
        for text in texts:
            if text not in self._embedded:
                if len(self._embedded) >= _REMEMBERED:
                    self._embedded.clear()
                self._embedded[text] = self.words.read(text)
        return torch.cat([self._embedded[text] for text in texts])

    @torch.no_grad()
    def forward(
        self, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"], told: Float[Tensor, "b tokens width"] | None
    ) -> Float[Tensor, "b c h w"]:
        """The raw output at original timesteps t, in float32."""
        return self._run(x_t, t, told).sample.float()

    def _run(self, x_t: Tensor, t: Tensor, told: Tensor | None) -> Any:
        given = x_t.to(self.dtype)
        return self.unet(given, t) if told is None else self.unet(given, t, encoder_hidden_states=told)

    @property
    def blocks(self) -> list[DecoderBlock]:
        """The UNet's decoder blocks, from the lowest resolution up."""
        return decoder_blocks(self.unet)

    def check_blocks(self, blocks: Sequence[int]) -> None:
        """Raise GenerateError when a block is not one of the decoder's."""
        must_be_blocks(blocks, len(self.blocks))

    def check_prompts(self, texts: Sequence[str]) -> None:
        """Raise GenerateError for words where none are read, none where some are needed, and more than are read."""
        if self.words is None:
            if texts:
                raise GenerateError("prompts were given, but this model paints without words; leave prompts out")
            return
        if not texts:
            raise GenerateError("no prompts were given, but this model paints from words; name some in prompts")
        self.embedded(texts)

    @torch.no_grad()
    def activations(
        self,
        x_t: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        told: Float[Tensor, "b tokens width"] | None,
        blocks: Sequence[int],
        where: Where = "output",
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """The maps of the UNet's decoder blocks at their own resolution, in the order of `blocks`."""
        self.check_blocks(blocks)
        return activations(self.blocks, blocks, where, lambda: self._run(x_t, t, told))

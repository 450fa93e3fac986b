"""Texts to what a UNet is told: a tokenizer and a text encoder, both of transformers'."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from generate.errors import CheckpointError, GenerateError
from generate.identity import read_json
from generate.latent_files import LatentFiles
from generate.latent_parts import filled, tensors_of

_ENCODERS = ("CLIPTextModel", "RobertaSeriesModelWithTransformation")


class WordReader:
    """A tokenizer with its text encoder."""

    def __init__(self, tokenizer: Any, encoder: nn.Module) -> None:
        self.tokenizer, self.encoder = tokenizer, encoder.requires_grad_(False).eval()

    @classmethod
    def of(cls, files: LatentFiles, device: torch.device, dtype: torch.dtype) -> "WordReader":
        """Raises CheckpointError for an encoder that is not known, or not whole, and without transformers."""
        config = read_json(files.config("text_encoder"))
        name = (config.get("architectures") or ["none"])[0]
        if name not in _ENCODERS:
            raise CheckpointError(
                f"{files.config('text_encoder')}: text encoder {name} is not known; known are {', '.join(_ENCODERS)}"
            )
        try:
            tokenizer_kind, config_kind, encoder_kind = _kinds(name)
        except ImportError as error:
            raise CheckpointError(
                f"{files.folder} reads words, which needs transformers; pip install 'datasetddpm[latent]'"
            ) from error
        try:
            with torch.device("meta"):
                encoder = encoder_kind(config_kind(**config))
            tokenizer = tokenizer_kind.from_pretrained(files.folder / "tokenizer", local_files_only=True)
        except (TypeError, ValueError, LookupError, AttributeError, RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{files.folder} does not describe a text encoder: {reason}") from error
        weights = files.weights("text_encoder")
        filled(encoder, tensors_of(weights, device), weights, dtype, without_prefix)
        _fill_buffers(encoder, device)
        return cls(tokenizer, encoder)

    @torch.no_grad()
    def read(self, text: str) -> Float[Tensor, "1 tokens width"]:
        """What the UNet is told of a text. Raises GenerateError for one that is too long."""
        length = self.tokenizer.model_max_length
        came = len(self.tokenizer(text, verbose=False).input_ids)
        if came > length:
            raise GenerateError(f"prompt {text!r} has {came} tokens, and {length} are read; shorten it")
        tokens = self.tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        config: Any = self.encoder.config
        device = next(self.encoder.parameters()).device
        mask = tokens.attention_mask.to(device) if getattr(config, "use_attention_mask", False) else None
        return self.encoder(tokens.input_ids.to(device), attention_mask=mask, return_dict=True)[0]


def _kinds(name: str) -> tuple[Any, Any, Any]:
    """Tokenizer, configuration and network of an encoder; imported here, since most models read no words."""
    if name == "CLIPTextModel":
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

        return CLIPTokenizer, CLIPTextConfig, CLIPTextModel
    from diffusers.pipelines.deprecated.alt_diffusion import modeling_roberta_series as alt
    from transformers import XLMRobertaTokenizer

    return XLMRobertaTokenizer, alt.RobertaSeriesConfig, alt.RobertaSeriesModelWithTransformation


def without_prefix(name: str) -> str:
    """Of CLIP's tensors, which transformers called text_model.encoder... before it called them encoder..."""
    return name.removeprefix("text_model.")


def _fill_buffers(encoder: nn.Module, device: torch.device) -> None:
    """What no file holds: the numbers of the places, and the one kind of sentence."""
    for module in encoder.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                assert name in ("position_ids", "token_type_ids"), name
                numbers = torch.arange(buffer.shape[-1], device=device) * (name == "position_ids")
                module.register_buffer(name, numbers.expand(buffer.shape), persistent=False)

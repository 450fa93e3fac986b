"""Features of any of timm's backbones, convolutional or transformer."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch

from label.backbone import Backbone, Size, chosen_layers, tensors_digest
from label.errors import InterpreterError
from label.feature_records import sha256_of

PRESETS: dict[str, tuple[str, tuple[int, ...]]] = {
    "dinov2_small": ("vit_small_patch14_dinov2.lvd142m", (2, 5, 8, 11)),
    "dinov2_base": ("vit_base_patch14_dinov2.lvd142m", (2, 5, 8, 11)),
    "dinov3_small": ("vit_small_patch16_dinov3.lvd1689m", (2, 5, 8, 11)),
    "dinov3_base": ("vit_base_patch16_dinov3.lvd1689m", (2, 5, 8, 11)),
}


class TimmFeatures(Backbone):
    """Intermediate maps of any of timm's backbones, convolutional or transformer."""

    def __init__(
        self,
        name: str,
        *,
        layers: Sequence[int] | None = None,
        weights: str | Path | None = None,
        image_size: Size = (256, 256),
    ) -> None:
        """`layers` are counted from 0, as timm counts them; none are a preset's own, otherwise all.

        `weights` None are random ones, always the same; "hub" are timm's published ones; else a file of them. An image
        whose sides are no multiple of a transformer's patches is enlarged to the next. Raises InterpreterError.
        """
        kind = f"timm:{name}"
        name, own_layers = PRESETS.get(name, (name, ()))
        probe = timm_model(name, {}, on="meta")
        count = len(probe.blocks) if hasattr(probe, "blocks") else len(probe.feature_info)  # type: ignore[arg-type]
        layers = chosen_layers(layers, count, own_layers or range(count), f"timm's {name}")
        patch = getattr(getattr(probe, "patch_embed", None), "patch_size", (1, 1))
        seen = (-(-image_size[0] // patch[0]) * patch[0], -(-image_size[1] // patch[1]) * patch[1])
        sized = {"img_size": seen} if patch != (1, 1) else {}
        network = timm_model(name, sized | {"features_only": True, "out_indices": layers}, weights=weights)
        file = None if weights in (None, "hub") else Path(str(weights))
        digest = sha256_of(file) if file else tensors_digest(network)
        identity = {"kind": kind, "name": name, "layers": list(layers), "sha256": digest}
        identity |= {"weights": "file" if file else weights}
        config = probe.pretrained_cfg
        assert isinstance(config, dict)
        super().__init__(
            network,
            lambda network, images: list(network(images)),
            identity,
            channels=sum(network.feature_info.channels()),
            image_size=image_size,
            weights=file,
            seen_size=seen,
            mean=config["mean"],
            std=config["std"],
        )


def timm_model(name: str, options: dict[str, Any], *, weights: str | Path | None = None, on: str = "cpu") -> Any:
    """A backbone of timm's, whose types are not declared."""
    if weights not in (None, "hub"):
        options = options | {"pretrained_cfg_overlay": {"file": str(weights)}}
    try:
        with torch.device(on), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return timm.create_model(name, pretrained=weights is not None, num_classes=0, **options)
    except Exception as error:  # timm and the Hub raise many kinds, all of them about this name or these weights
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; near are {', '.join(near)}" if near and name not in near and not timm.is_model(name) else ""
        raise InterpreterError(
            f"timm has no {name} with these weights and layers: {_first_line(error)}{hint}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

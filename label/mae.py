"""MAE's features, which arXiv 2112.03126 compares with (section 4, appendix), on timm's own transformer."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from label.backbone import Backbone, Size, chosen_layers, filled, stored_tensors_of
from label.errors import InterpreterError
from label.feature_records import sha256_of

_HEADS = {768: 12, 1024: 16, 1280: 16}  # of MAE's published widths; the checkpoint does not hold the number


class MaeFeatures(Backbone):
    """MAE's vision transformer (arXiv 2111.06377): outputs of the last `blocks` blocks, without the class token.

    The published one, ViT-L with patches of 8 on 256x256 pixels, gives 12 x 1024 channels at 32x32. Nothing is masked.
    """

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        blocks: int | Sequence[int] = 12,
        heads: int | None = None,
        image_size: Size | None = None,
    ) -> "MaeFeatures":
        """Open the published checkpoint, {"model": {"patch_embed.proj.weight": ...}}; its decoder is left out.

        `blocks` are the last so many, or those of these numbers, from 0. `heads` is needed for a width that MAE was not
        published in. `image_size` None is the size it was trained on; positions are interpolated to another. Raises
        InterpreterError in one sentence.
        """
        path = Path(path)
        tensors = stored_tensors_of(path, "model", "MAE")
        tensors = {k: t for k, t in tensors.items() if not k.startswith("decoder") and k != "mask_token"}
        network = filled(_mae(tensors, path, heads), tensors, path, "MAE")
        wanted, attention = _wanted(blocks, len(network.blocks), path), network.blocks[0].get_submodule("attn")
        patches = network.patch_embed.img_size
        assert patches is not None
        own = (int(patches[0]), int(patches[1]))
        identity = {"kind": "mae", "sha256": sha256_of(path), "layers": list(wanted), "heads": attention.num_heads}
        channels = len(wanted) * network.embed_dim
        read, size = partial(_outputs, wanted), image_size or own
        return cls(network, read, identity, channels=channels, image_size=size, weights=path)


def _wanted(blocks: int | Sequence[int], depth: int, path: Path) -> tuple[int, ...]:
    if isinstance(blocks, int) and not 1 <= blocks <= depth:
        raise InterpreterError(f"{blocks} blocks were asked for; {path} has {depth}")
    numbers = range(depth - blocks, depth) if isinstance(blocks, int) else blocks
    return chosen_layers(numbers, depth, numbers, f"{path}, of MAE,")


def _outputs(wanted: Sequence[int], network: nn.Module, images: Tensor) -> list[Tensor]:
    assert isinstance(network, VisionTransformer)
    in_order = sorted(set(wanted))
    maps = network.forward_intermediates(images, indices=in_order, stop_early=True, intermediates_only=True)
    assert isinstance(maps, list)
    return [maps[in_order.index(number)] for number in wanted]


def _mae(tensors: Mapping[str, Tensor], path: Path, heads: int | None) -> VisionTransformer:
    """Timm's transformer, without weights, of the sizes that the tensors have."""
    try:
        width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        side = patch * round((tensors["pos_embed"].shape[1] - 1) ** 0.5)
        mlp_ratio = tensors["blocks.0.mlp.fc1.weight"].shape[0] / width
    except (KeyError, ValueError) as error:
        raise InterpreterError(f"{path} is no checkpoint of MAE: it lacks {error}") from error
    if heads is None and width not in _HEADS:
        raise InterpreterError(
            f"{path} is {width} wide, and its attention heads are not known; set interpreter.mae_heads, or give heads"
        )
    if heads and width % heads:
        raise InterpreterError(
            f"{path} is {width} wide, which {heads} attention heads do not divide; give those of its training"
        )
    with torch.device("meta"):
        return VisionTransformer(
            img_size=side,
            patch_size=patch,
            embed_dim=width,
            depth=len({key.split(".")[1] for key in tensors if key.startswith("blocks.")}),
            num_heads=heads or _HEADS[width],
            mlp_ratio=mlp_ratio,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_classes=0,
            dynamic_img_size=True,
        )

"""Train a small ResNet as SwAV does (arXiv 2006.09882) on drawings, with lightly's head, prototypes and loss.

Regime: the shipped domain, 6,000 drawings of 64x64 with random mirroring, the very ones that the shipped diffusion
model saw in its first 67,200 images; these took 0.32 PFLOP, which 238,000 images take here. Two crops of 64x64 and two
of 32x32 of each, with other colours; 100 prototypes, fixed for the first 100 updates. The network is timm's resnet10t,
written as timm reads it.

    pip install --no-deps lightly lightly-utils aenum
    python -m pipelines.demo.draw --out faces
    python tests/bench/train_swav.py faces/unlabelled --out encoders/swav.pth --bfloat16

A training that was stopped goes on from OUT.part. `TimmFeatures("resnet10t", layers=(0, 1, 2, 3), weights=OUT)` opens
what it wrote, and the same with `weights=None` the same network with random weights.
"""

from functools import partial
from pathlib import Path

import timm
import torch
from pretraining import Training, drawings, normalised, parser_of, save, train
from torch import Tensor, nn
from torch.nn import functional as F

NETWORK = "resnet10t"
FROZEN = 100  # updates in which the prototypes stay


class Swav(nn.Module):
    """The backbone, and what SwAV throws away after training."""

    def __init__(self, prototypes: int = 100, half: bool = False) -> None:
        from lightly.loss import SwaVLoss  # pyright: ignore[reportMissingImports] - only this script needs it
        from lightly.models.modules import (  # pyright: ignore[reportMissingImports]
            SwaVProjectionHead,
            SwaVPrototypes,
        )

        super().__init__()
        self.backbone = timm.create_model(NETWORK, pretrained=False, num_classes=0)
        self.backbone.to(memory_format=torch.channels_last)
        self.precision = torch.autocast("cpu", torch.bfloat16, enabled=half)
        self.head = SwaVProjectionHead(self.backbone.num_features, 512, 64)
        self.prototypes = SwaVPrototypes(64, prototypes, n_steps_frozen_prototypes=FROZEN)
        self.swapped = SwaVLoss()

    def loss(self, batch: Tensor, update: int) -> Tensor:
        """Each crop predicts the prototypes of another crop of the same drawing."""
        self.prototypes.normalize()
        large, small = (self._scores(torch.cat(crops), update) for crops in (views(batch, 64), views(batch, 32)))
        return self.swapped(list(large.chunk(2)), list(small.chunk(2)))

    def _scores(self, crops: Tensor, update: int) -> Tensor:
        with self.precision:
            seen = self.backbone(normalised(crops))
        return self.prototypes(F.normalize(self.head(seen.float())), step=update)


def views(batch: Tensor, side: int) -> list[Tensor]:
    """Two crops of every drawing, the smaller ones of smaller areas, each with colours of its own."""
    areas = (0.3, 1.0) if side == batch.shape[-1] else (0.08, 0.3)
    return [_recoloured(_cropped(batch, side, areas)) for _ in range(2)]


def _cropped(batch: Tensor, side: int, areas: tuple[float, float]) -> Tensor:
    """A square of another area at another place of every drawing, resized."""
    count = len(batch)
    scale = torch.empty(count).uniform_(*areas).sqrt()
    shift = (2 * torch.rand(count, 2) - 1) * (1 - scale).unsqueeze(1)
    boxes = torch.zeros(count, 2, 3)
    boxes[:, 0, 0] = boxes[:, 1, 1] = scale
    boxes[:, :, 2] = shift
    grid = F.affine_grid(boxes, [count, 3, side, side], align_corners=False)
    return F.grid_sample(batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _recoloured(batch: Tensor) -> Tensor:
    """Another brightness, contrast and share of each colour; a fifth is grey."""
    count = len(batch)
    grey = batch.mean(1, keepdim=True).expand_as(batch)
    batch = torch.where(torch.rand(count, 1, 1, 1) < 0.2, grey, batch)
    mean = batch.mean((1, 2, 3), keepdim=True)
    contrast = torch.empty(count, 1, 1, 1).uniform_(0.6, 1.4)
    colour = torch.empty(count, 3, 1, 1).uniform_(0.6, 1.4)
    return ((batch - mean) * contrast + mean).mul(colour).clamp(0, 1)


def main() -> None:
    options = parser_of(__doc__, batch_size=64, seen=238_000).parse_args()
    images = drawings(options.drawings, options.images)
    torch.manual_seed(0)
    model = Swav(half=options.bfloat16)
    print(f"{sum(p.numel() for p in model.backbone.parameters()) / 1e6:.1f} M parameters, {len(images)} drawings")
    settings = Training(options.seen, options.batch_size, 1e-3, 1e-4)
    train(model, images, settings, model.loss, options.out, partial(_write, options.out))


def _write(path: Path, weights: dict[str, Tensor]) -> None:
    own = {key.removeprefix("backbone."): t for key, t in weights.items() if key.startswith("backbone.")}
    save(own, path)


if __name__ == "__main__":
    main()

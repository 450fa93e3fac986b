"""Train a small MAE (arXiv 2111.06377) on drawings, from timm's parts, and write it as the published ones are written.

Regime: the shipped domain, 6,000 drawings of 64x64 with random mirroring, the very ones that the shipped diffusion
model saw in its first 67,200 images; these took 0.32 PFLOP, which 582,000 images take here. Patches of 4, so that its
maps are 16x16; three quarters are masked; targets are pixels normalised by patch. `--untrained` writes the same network
with the weights that it begins with.

    python -m pipelines.demo.draw --out faces
    python tests/bench/train_mae.py faces/unlabelled --out encoders/mae.pth --bfloat16

A training that was stopped goes on from OUT.part. `MaeFeatures.from_pretrained(OUT, blocks=6, heads=4)` opens it.
"""

from functools import partial
from pathlib import Path

import torch
from pretraining import Training, drawings, normalised, parser_of, save, train
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

WIDTH, DEPTH, HEADS, PATCH = 128, 6, 4, 4
MASKED = 0.75


class MaskedAutoencoder(VisionTransformer):
    """Timm's transformer sees the visible patches; a small decoder paints the others."""

    def __init__(self, size: int, decoder_width: int = 64, decoder_depth: int = 1) -> None:
        norm = partial(nn.LayerNorm, eps=1e-6)
        super().__init__(
            img_size=size,
            patch_size=PATCH,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=HEADS,
            norm_layer=norm,
            num_classes=0,
        )
        places = (size // PATCH) ** 2
        self.decoder_embed = nn.Linear(WIDTH, decoder_width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, decoder_width))
        self.decoder_pos_embed = nn.Parameter(0.02 * torch.randn(1, places + 1, decoder_width))
        block = partial(Block, decoder_width, 2, norm_layer=norm)  # type: ignore[arg-type]  # any maker of a norm does
        self.decoder_blocks = nn.Sequential(*(block() for _ in range(decoder_depth)))
        self.decoder_norm, self.decoder_pred = norm(decoder_width), nn.Linear(decoder_width, 3 * PATCH**2)

    def loss(self, images: Tensor) -> Tensor:
        """Mean square of what is painted less the truth, over the masked patches."""
        assert isinstance(self.pos_embed, Tensor)
        assert isinstance(self.cls_token, Tensor)
        tokens = self.patch_embed(images) + self.pos_embed[:, 1:]
        count, places, _ = tokens.shape
        order = torch.rand(count, places).argsort(1)
        visible, hidden = order.split([places - int(MASKED * places), int(MASKED * places)], dim=1)
        seen = torch.gather(tokens, 1, visible.unsqueeze(2).expand(-1, -1, WIDTH))
        first = (self.cls_token + self.pos_embed[:, :1]).expand(count, -1, -1)
        coded = self.decoder_embed(self.norm(self.blocks(torch.cat([first, seen], dim=1))))
        blank = self.mask_token.expand(count, hidden.shape[1], -1)
        shuffled = torch.cat([coded[:, 1:], blank], dim=1)
        placed = torch.gather(shuffled, 1, order.argsort(1).unsqueeze(2).expand_as(shuffled))
        painted = self.decoder_blocks(torch.cat([coded[:, :1], placed], dim=1) + self.decoder_pos_embed)
        predicted = self.decoder_pred(self.decoder_norm(painted[:, 1:]))
        errors = (predicted.float() - _targets(images)).square().mean(2)
        return torch.gather(errors, 1, hidden).mean()


def _targets(images: Tensor) -> Tensor:
    """The pixels of each patch, with mean 0 and deviation 1."""
    patches = nn.functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2)
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


def main() -> None:
    parser = parser_of(__doc__, batch_size=32, seen=582_000)
    parser.add_argument("--untrained", action="store_true", help="write the weights that a training begins with")
    options = parser.parse_args()
    images = drawings(options.drawings, options.images)
    torch.manual_seed(0)
    model = MaskedAutoencoder(images.shape[-1])
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {len(images)} drawings")
    write = partial(_write, options.out)
    write(model.state_dict())
    if not options.untrained:
        settings = Training(options.seen, options.batch_size, 1e-3, 0.05)
        loss = torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16)(model.loss)
        train(model, images, settings, lambda batch, _: loss(normalised(batch)), options.out, write)


def _write(path: Path, weights: dict[str, Tensor]) -> None:
    save({"model": weights}, path)


if __name__ == "__main__":
    main()

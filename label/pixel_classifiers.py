"""The ensemble's members, all as one batched module: Linear ReLU BatchNorm, twice, and a Linear to the classes.

Sizes and initialisation follow arXiv 2112.03126, section 4 (DatasetGAN's classifiers, arXiv 2104.06490).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def published_widths(classes: int) -> tuple[int, int]:
    """Hidden units: 128 and 32, or 256 and 128 from 30 classes on."""
    return (128, 32) if classes < 30 else (256, 128)


class MemberLinear(nn.Module):
    """One Linear a member; members see inputs of their own."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(members, outputs))

    def forward(self, x: Float[Tensor, "members n inputs"]) -> Float[Tensor, "members n outputs"]:
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(1, 2))


class MemberNorm(nn.Module):
    """One BatchNorm a member, its statistics taken over that member's rows alone."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, width))
        self.bias = nn.Parameter(torch.zeros(members, width))
        self.register_buffer("running_mean", torch.zeros(members, width))
        self.register_buffer("running_var", torch.ones(members, width))
        self.eps, self.momentum = 1e-5, 0.1

    def forward(self, x: Float[Tensor, "members n width"]) -> Float[Tensor, "members n width"]:
        if not self.training:
            scale, shift = self.as_affine()
            return x * scale.unsqueeze(1) + shift.unsqueeze(1)
        var, mean = torch.var_mean(x, dim=1, correction=0)
        with torch.no_grad():
            unbiased = var * x.shape[1] / (x.shape[1] - 1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        normal = (x - mean.unsqueeze(1)) * torch.rsqrt(var + self.eps).unsqueeze(1)
        return normal * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)

    def as_affine(self) -> tuple[Float[Tensor, "members width"], Float[Tensor, "members width"]]:
        """Scale and shift that the trained norm applies."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale


class PixelClassifiers(nn.Module):
    """Members [m] that map features [channels] of a pixel to class scores."""

    def __init__(self, members: int, channels: int, classes: int, widths: tuple[int, int] | None = None) -> None:
        super().__init__()
        first, second = widths or published_widths(classes)
        self.members, self.channels, self.classes = members, channels, classes
        self.linear_1 = MemberLinear(members, channels, first)
        self.norm_1 = MemberNorm(members, first)
        self.linear_2 = MemberLinear(members, first, second)
        self.norm_2 = MemberNorm(members, second)
        self.linear_3 = MemberLinear(members, second, classes)

    @torch.no_grad()
    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """Weights from N(0, 0.02), each member's from its own generator; biases 0."""
        for member, generator in enumerate(generators):
            for linear in (self.linear_1, self.linear_2, self.linear_3):
                weight = linear.weight[member]
                weight.copy_(0.02 * torch.randn(weight.shape, generator=generator))

    def forward(self, features: Float[Tensor, "members n channels"]) -> Float[Tensor, "members n classes"]:
        """Class scores of pixels whose features are in hand; the way that training goes."""
        x = self.norm_1(F.relu(self.linear_1(features)))
        x = self.norm_2(F.relu(self.linear_2(x)))
        return self.linear_3(x)

    @torch.no_grad()
    def take_scaling(self, scale: Float[Tensor, " channels"], shift: Float[Tensor, " channels"]) -> None:
        """Move into the first Linear what was done to its features: from here on x means what x * scale + shift did."""
        first = self.linear_1
        first.bias.add_(first.weight @ shift)
        first.weight.mul_(scale)

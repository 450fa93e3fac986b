"""How sure an ensemble is."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def jensen_shannon(logits: Float[Tensor, "members pixels classes"]) -> Float[Tensor, " pixels"]:
    """H(mean of the members' softmax) - mean of H(softmax), in nats; 0 to ln(classes).

    Beluch et al., CVPR 2018, as used by DatasetGAN (arXiv 2104.06490, section 3.2).
    """
    scores = logits.float().transpose(1, 2)  # [members, classes, pixels], as the classifiers leave them in memory
    below_highest = scores - scores.amax(1, keepdim=True)
    unnormalised = below_highest.exp()
    total = unnormalised.sum(1, keepdim=True)
    entropies = total.log() - below_highest.mul_(unnormalised).sum(1, keepdim=True) / total
    mean = unnormalised.div_(total).mean(0)
    return (torch.special.entr(mean).sum(0) - entropies.mean(0).squeeze(0)).clamp_min(0)


def majority(logits: Float[Tensor, "members pixels classes"]) -> UInt8[Tensor, " pixels"]:
    """The class that most members score highest; of equal scores and of equally many votes the lowest class wins."""
    classes = logits.shape[-1]
    lowest_first = torch.arange(classes, 0, -1, dtype=torch.uint8, device=logits.device)
    highest = (logits == logits.amax(-1, keepdim=True)).view(torch.uint8)
    votes = (highest * lowest_first).amax(-1, keepdim=True)
    ranked = (votes == lowest_first).sum(0, dtype=torch.int32) * classes + (lowest_first - 1)
    return (classes - 1 - ranked.amax(-1) % classes).to(torch.uint8)


def decide(logits: Float[Tensor, "members h w classes"]) -> tuple[UInt8[Tensor, "h w"], Float[Tensor, "h w"]]:
    """The members' majority vote and their divergence in nats; of equally many votes the lowest class wins."""
    pixels, size = logits.flatten(1, 2), logits.shape[1:3]
    return majority(pixels).view(size), jensen_shannon(pixels).view(size)


def image_uncertainty(pixel_uncertainty: Float[Tensor, "... h w"]) -> Float[Tensor, "..."]:
    """Mean of the highest tenth of an image's pixels (of at least one), in nats."""
    pixels = pixel_uncertainty.flatten(-2)
    return pixels.topk(max(1, pixels.shape[-1] // 10)).values.mean(-1)

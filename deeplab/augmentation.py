"""Changes of training images by torchvision, masks along with them; a function of a seed for each image."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from deeplab.errors import NetworkError
from deeplab.settings import Augmentation

IGNORED = 255  # what turned-in corners of a mask hold


def _strong(size: tuple[int, int]) -> Sequence[v2.Transform]:
    """Shape (a crop of 50 to 100 % of the area, turns, shears), light (brightness to hue), and blur."""
    return [
        v2.RandomResizedCrop(size, scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True),
        v2.RandomAffine(
            degrees=[-15, 15],
            shear=[-5, 5],
            interpolation=InterpolationMode.BILINEAR,
            fill={tv_tensors.Image: 0, tv_tensors.Mask: IGNORED},
        ),
        v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.05),
        v2.RandomApply([v2.GaussianBlur(3, sigma=(0.1, 1.0))], p=0.2),
    ]


AUGMENTATIONS: dict[Augmentation, Callable[[tuple[int, int]], Sequence[v2.Transform]]] = {
    "none": lambda size: [],  # the published setting
    # mirrored: not where a class is of one side, as "left eye"
    "mirrored": lambda size: [v2.RandomHorizontalFlip()],
    "strong": _strong,
    "strong_mirrored": lambda size: [v2.RandomHorizontalFlip(), *_strong(size)],
}


def augment(
    name: Augmentation, image: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"], seed: Sequence[int]
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Image and mask changed alike, at the same size; the mask by nearest neighbour, 255 where nothing was seen.

    A function of the seed; the global generator stays as it was, but is used: call it from one thread.
    """
    if name not in AUGMENTATIONS:
        raise NetworkError(f"there is no augmentation {name!r}; there are {', '.join(AUGMENTATIONS)}")
    steps = AUGMENTATIONS[name]((mask.shape[0], mask.shape[1]))
    if not steps:
        return image, mask
    picture = tv_tensors.Image(torch.tensor(image).permute(2, 0, 1))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        changed, truth = v2.Compose(steps)(picture, tv_tensors.Mask(torch.tensor(mask)))
    return changed.permute(1, 2, 0).contiguous().numpy(), truth.numpy()

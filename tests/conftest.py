from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch
from diffusers import UNet2DModel

from generate import Denoiser, Schedule

if TYPE_CHECKING:
    from cluster import Cluster


@pytest.fixture
def tiny_denoiser() -> Denoiser:
    """A UNet of random weights on 16x16 images, with four decoder blocks: two at 8x8, two at 16x16."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=4,
    )
    return Denoiser(unet, Schedule.named("cosine", "v_prediction"), digest="tiny")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator["Cluster"]:
    """One local Ray with four cores and two GPUs that exist in its books only."""
    from cluster import connect  # imported here, since the tests of most modules need no Ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # or a token file is written to the home folder
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        with connect(cpus=4, gpus=2) as cluster:
            yield cluster

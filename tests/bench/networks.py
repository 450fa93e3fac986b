"""What the benchmarks time: the shipped denoiser, the published UNet and members of random weights."""

import argparse
from pathlib import Path
from typing import Any, get_args

import measuring
import torch

from generate import CompileMode, Denoiser
from generate.checkpoint import schedule_of
from generate.guided import build_unet
from generate.guided_flags import PRESETS, parse_flags
from label.pixel_classifiers import PixelClassifiers

DEMO = Path(__file__).parents[2] / "pipelines" / "demo" / "model"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which denoiser is timed, where, and how it computes."""
    parser.add_argument("--published", action="store_true", help="the LSUN UNet with random weights instead of a model")
    parser.add_argument("--size", type=int, default=256, help="with --published")
    parser.add_argument("--device", default=measuring.default_device())
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--compile", choices=get_args(CompileMode))


def opened(options: argparse.Namespace, model: Path = DEMO) -> Denoiser:
    """As the options say, but for --compile."""
    dtype = getattr(torch, options.dtype)
    if options.published:
        return published_denoiser(options.size, options.device, dtype)
    return Denoiser.from_pretrained(model, device=options.device, dtype=dtype)


def published_denoiser(size: int, device: str, dtype: torch.dtype) -> Denoiser:
    """The LSUN UNet with weights drawn at random, small enough that activations stay finite."""
    flags = parse_flags(f"{PRESETS['lsun_horse']} --image_size {size} --channel_mult 1,1,2,2,4,4")
    unet: Any = build_unet(flags).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter in unet.parameters():
            scale = (parameter.numel() / len(parameter)) ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.normal_(0, scale, generator=generator)
    return Denoiser(unet.to(dtype=dtype), schedule_of(flags), digest="random")


def random_classifiers(members: int, channels: int, classes: int) -> PixelClassifiers:
    """Published initial weights, with statistics and scores as spread as those of trained members."""
    generators = [torch.Generator().manual_seed(i) for i in range(members)]
    classifiers = PixelClassifiers(members, channels, classes)
    classifiers.initialise(generators)
    state = classifiers.state_dict()
    for name, tensor in state.items():
        if "running" in name or "norm" in name:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generators[0]))
    state["linear_3.weight"].mul_(20)
    state["linear_2.weight"].mul_(5)
    return classifiers.eval()

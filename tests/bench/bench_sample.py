"""Sampling: one network call after another, and next to nothing between them.

Regime: the network is bound by its convolutions and matrix products; at 256x256 the published UNet needs 2.24 TFLOP
an image and call, and the ceiling is the device's rate of large matrix products, measured in the same run. Plain: the
network in its default memory layout, the ancestral step with every coefficient looked up in a table on the device, as
the publication's code does it. Fast: the layout that is fastest on the device, coefficients as plain numbers, compiled
where asked. Both are given the same noise and must give the same images.

    python tests/bench/bench_sample.py [--model pipelines/demo/model | --published] [--batch 20 40 --compile default]
"""

import argparse
import copy
from pathlib import Path

import measuring
import networks
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from generate import Denoiser, spaced_timesteps, trajectory
from pipelines.units.devices import set_up


def plain_ancestral(
    denoiser: Denoiser, unet: torch.nn.Module, noise: Tensor, times: list[int], draws: Tensor
) -> Tensor:
    """The published loop: tables of coefficients, one number a timestep, spread over the batch at each step."""
    schedule, x = denoiser.schedule, noise
    a = schedule.alphas_cumprod[times].flip(0)
    a_prev = torch.cat([torch.ones(1, dtype=torch.float64), a[:-1]])
    betas = 1 - a / a_prev
    variance = betas * (1 - a_prev) / (1 - a)
    log_variance = torch.log(torch.cat([variance[1:2], variance[1:]]))
    tables = {
        "x_0": betas * a_prev.sqrt() / (1 - a),
        "x_t": (1 - a_prev) * (a / a_prev).sqrt() / (1 - a),
        "log_variance": log_variance,
        "log_beta": betas.log(),
        "signal": a.sqrt(),
        "sigma": (1 - a).sqrt(),
    }

    def at(name: str, index: int) -> Tensor:
        place = torch.full((len(x),), index, device=x.device)
        return tables[name].to(x.device)[place].float().view(-1, 1, 1, 1).expand(x.shape)

    for i, t in enumerate(times):
        index = len(times) - 1 - i
        told = torch.full((len(x),), t, device=x.device)
        out, *learned = unet(x.to(denoiser.unet.dtype), told).sample.float().split(x.shape[1], dim=1)
        if schedule.prediction == "v_prediction":
            x_0 = at("signal", index) * x - at("sigma", index) * out
        else:
            x_0 = (x - at("sigma", index) * out) / at("signal", index)
        mean = at("x_0", index) * x_0.clamp(-1, 1) + at("x_t", index) * x
        adds_noise = torch.full((len(x), 1, 1, 1), float(index > 0), device=x.device)
        log = at("log_variance", index)
        if learned:
            log = (learned[0] + 1) / 2 * at("log_beta", index) + (1 - learned[0]) / 2 * log
        x = mean + adds_noise * torch.exp(0.5 * log) * draws[i]
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=networks.DEMO)
    networks.add_options(parser)
    parser.add_argument("--batch", type=int, nargs="+", default=[20], help="images at once; each gets a table")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    set_up(options.device)
    denoiser = networks.opened(options, options.model)
    unet: torch.nn.Module = copy.deepcopy(denoiser.unet)
    unet = unet.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if options.compile:
        denoiser.compile(options.compile)
    ceiling = measuring.matmul_rate(options.device, getattr(torch, options.dtype))
    by_batch = {batch: measured(denoiser, unet, batch, ceiling, options) for batch in options.batch}
    settings = {name: str(value) for name, value in vars(options).items()}
    best = max(figures["share"] for figures in by_batch.values())
    measuring.finish("sample", options.device, settings, {"best_share": best, "by_batch": by_batch})


def measured(
    denoiser: Denoiser, unet: torch.nn.Module, batch: int, ceiling: float, options: argparse.Namespace
) -> dict[str, float]:
    """All ways with so many images at once; raises AssertionError where they do not give the same images."""
    dtype, shape = denoiser.unet.dtype, (batch, *denoiser.image_shape)
    noise = torch.randn(shape, device=options.device)
    draws = torch.randn((options.steps, *shape), device=options.device)
    times = spaced_timesteps(options.steps, denoiser.schedule, "ddpm")
    told = torch.full((batch,), 500, device=options.device)

    def fast() -> Tensor:
        *_, x = trajectory(denoiser, noise, solver="ddpm", timesteps=times, step_noise=draws)
        return x

    def bare() -> None:
        for _ in times:
            denoiser(noise, told)

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(noise[:1].to(dtype), told[:1])
    operations = float(counter.get_total_flops())
    with torch.no_grad():
        ways = {"plain": lambda: plain_ancestral(denoiser, unet, noise, times, draws), "fast": fast, "bare": bare}
        for run in ways.values():
            run()
        timed = measuring.alternate(ways, options.rounds, options.device)
    differences = (timed["plain"].result - timed["fast"].result).abs()
    largest, mean = differences.max().item(), differences.mean().item()
    exact = dtype == torch.float32 and options.device == "cpu"  # otherwise single pixels at the clamp's edge may differ
    assert mean < 0.05, f"the images differ by {mean} in the mean"
    assert largest < 1e-3 or not exact, f"the images differ by {largest}"
    calls = batch * options.steps
    rows = [["way", "ms an image and step", "CPU ms", "ratio", "TFLOP/s", f"share of {ceiling / 1e12:.2f}"]]
    names = {"plain": "plain", "fast": "fast", "bare": "the network alone"}
    for name, way in timed.items():
        rate = operations * calls / way.best
        cells = [f"{1e3 * way.best / calls:.2f}", f"{1e3 * way.best_cpu / calls:.2f}"]
        ratio = timed["plain"].best / way.best
        rows.append([names[name], *cells, f"{ratio:.2f}", f"{rate / 1e12:.3f}", f"{rate / ceiling:.0%}"])
    measuring.show(f"{measuring.hardware(options.device)}, {options.dtype}, batch {batch}", rows)
    figures = {f"{name}_ms": 1e3 * way.best / calls for name, way in timed.items()}
    ratios = {"ratio": timed["plain"].best / timed["fast"].best, "difference": largest, "mean_difference": mean}
    return {**figures, **ratios, "gflop": operations / 1e9, "share": operations * calls / timed["bare"].best / ceiling}


if __name__ == "__main__":
    main()

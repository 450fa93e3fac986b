"""Noise to images: open or train a diffusion model of one domain, sample it, and read its decoder's activations."""

from generate.checkpoint import CheckpointError
from generate.denoiser import Denoiser
from generate.sampler import Solver, sample, spaced_timesteps, trajectory
from generate.schedule import Schedule

__all__ = ["CheckpointError", "Denoiser", "Schedule", "Solver", "sample", "spaced_timesteps", "trajectory"]

"""Noise to images: open or train a diffusion model of one domain, sample it, and read its decoder's activations.

A name's file is imported when the name is first used: what needs no torch does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generate.denoiser import Denoiser as Denoiser
    from generate.errors import CheckpointError as CheckpointError
    from generate.errors import ImageError as ImageError
    from generate.images import read_image as read_image
    from generate.images import to_rgb as to_rgb
    from generate.sampler import sample as sample
    from generate.sampler import spaced_timesteps as spaced_timesteps
    from generate.sampler import trajectory as trajectory
    from generate.schedule import Schedule as Schedule
    from generate.settings import Solver as Solver
else:
    _FILES = {
        "denoiser": ["Denoiser"],
        "errors": ["CheckpointError", "ImageError"],
        "images": ["read_image", "to_rgb"],
        "sampler": ["sample", "spaced_timesteps", "trajectory"],
        "schedule": ["Schedule"],
        "settings": ["Solver"],
    }
    _FILE_OF = {name: file for file, names in _FILES.items() for name in names}
    __all__ = sorted(_FILE_OF)

    def __getattr__(name: str) -> object:
        if name not in _FILE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)

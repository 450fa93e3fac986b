"""Noise to images: open or train a diffusion model of one domain, sample it, and read its decoder's activations.

A name's file is imported when the name is first used: what needs no torch does not wait for it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

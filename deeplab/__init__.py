"""Image and mask to network: build a DeepLabV3, train it on any iterable of batches, measure it and keep it on disk.

A name's file is imported when the name is first used: what needs no torch does not wait for it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

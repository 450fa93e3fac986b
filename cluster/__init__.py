"""Ray and nothing else: a connection to a cluster, and a supervised pool that makes numbered units on it.

A name's file is imported when the name is first used: what needs no Ray does not wait for it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Where domain, disk, cluster and user meet: the recipe, the shard contract, the unit and the stages.

A name's file is imported when the name is first used: what needs neither torch nor Ray does not wait for them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Where domain, disk, cluster and user meet: the recipe, the shard contract, the worker and the stages.

A name's file is imported when the name is first used: what needs neither torch nor Ray does not wait for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.errors import DatasetError as DatasetError
    from pipelines.errors import RecipeError as RecipeError
    from pipelines.recipe import Recipe as Recipe
    from pipelines.segment_images import Segmentation as Segmentation
    from pipelines.segment_images import segment as segment
    from pipelines.shards import Sample as Sample
    from pipelines.shards import read_shards as read_shards
    from pipelines.shards import write_shard as write_shard
else:
    _FILES = {
        "errors": ["DatasetError", "RecipeError"],
        "recipe": ["Recipe"],
        "segment_images": ["Segmentation", "segment"],
        "shards": ["Sample", "read_shards", "write_shard"],
    }
    _FILE_OF = {name: file for file, names in _FILES.items() for name in names}
    __all__ = sorted(_FILE_OF)

    def __getattr__(name: str) -> object:
        if name not in _FILE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)

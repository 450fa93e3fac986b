"""Where domain, disk, cluster and user meet: the recipe, the shard contract, the worker and the stages."""

from pipelines.recipe import Recipe, RecipeError
from pipelines.segment_images import Segmentation, segment
from pipelines.shards import DatasetError, Sample, read_shards, write_shard

__all__ = ["DatasetError", "Recipe", "RecipeError", "Sample", "Segmentation", "read_shards", "segment", "write_shard"]

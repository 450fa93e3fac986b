from .dataset.shards import Sample as Sample
from .dataset.shards import read_shards as read_shards
from .dataset.shards import write_shard as write_shard
from .errors import DatasetError as DatasetError
from .errors import RecipeError as RecipeError
from .recipe import Recipe as Recipe
from .stages.segment import Segmentation as Segmentation
from .stages.segment import segment as segment

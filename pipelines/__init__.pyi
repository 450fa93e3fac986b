from .errors import DatasetError as DatasetError
from .errors import RecipeError as RecipeError
from .recipe import Recipe as Recipe
from .segment_images import Segmentation as Segmentation
from .segment_images import segment as segment
from .shards import Sample as Sample
from .shards import read_shards as read_shards
from .shards import write_shard as write_shard

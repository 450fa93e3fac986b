"""Image and mask to network: build a DeepLabV3, train it on any iterable of batches, measure it and keep it on disk."""

from deeplab.metrics import Scores, evaluate, mean_iou, score
from deeplab.model import DeepLab, build, load, predict, save
from deeplab.trainer import Step, fit

__all__ = ["DeepLab", "Scores", "Step", "build", "evaluate", "fit", "load", "mean_iou", "predict", "save", "score"]

"""Image and mask to network: build a DeepLabV3, train it on any iterable of batches, measure it and keep it on disk."""

from deeplab.augment import Augmentation, augment
from deeplab.losses import Loss
from deeplab.metrics import Scores, evaluate, mean_iou, score
from deeplab.model import DeepLab, build, load, predict, save
from deeplab.trainer import Precision, Step, Trainee, Training, fit

__all__ = [
    "Augmentation",
    "DeepLab",
    "Loss",
    "Precision",
    "Scores",
    "Step",
    "Trainee",
    "Training",
    "augment",
    "build",
    "evaluate",
    "fit",
    "load",
    "mean_iou",
    "predict",
    "save",
    "score",
]

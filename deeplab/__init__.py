"""Image and mask to network: build a DeepLabV3, train it on any iterable of batches, measure it and keep it on disk.

A name's file is imported when the name is first used: what needs no torch does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deeplab.augmentation import augment as augment
    from deeplab.errors import ExportError as ExportError
    from deeplab.export import OnnxModel as OnnxModel
    from deeplab.export import export_onnx as export_onnx
    from deeplab.metrics import Scores as Scores
    from deeplab.metrics import evaluate as evaluate
    from deeplab.metrics import mean_iou as mean_iou
    from deeplab.metrics import score as score
    from deeplab.model import DeepLab as DeepLab
    from deeplab.model import build as build
    from deeplab.model import load as load
    from deeplab.model import predict as predict
    from deeplab.model import save as save
    from deeplab.settings import Augmentation as Augmentation
    from deeplab.settings import Loss as Loss
    from deeplab.settings import Precision as Precision
    from deeplab.trainer import Step as Step
    from deeplab.trainer import Trainee as Trainee
    from deeplab.trainer import Training as Training
    from deeplab.trainer import fit as fit
else:
    _FILES = {
        "augmentation": ["augment"],
        "errors": ["ExportError"],
        "export": ["OnnxModel", "export_onnx"],
        "metrics": ["Scores", "evaluate", "mean_iou", "score"],
        "model": ["DeepLab", "build", "load", "predict", "save"],
        "settings": ["Augmentation", "Loss", "Precision"],
        "trainer": ["Step", "Trainee", "Training", "fit"],
    }
    _FILE_OF = {name: file for file, names in _FILES.items() for name in names}
    __all__ = sorted(_FILE_OF)

    def __getattr__(name: str) -> object:
        if name not in _FILE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)

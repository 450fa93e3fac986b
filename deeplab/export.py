"""A trained network as one ONNX file, and that file opened again with onnxruntime: for machines without PyTorch."""

import copy
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from deeplab.errors import ExportError
from deeplab.images import IMAGENET_MEAN, IMAGENET_STD, normalise
from deeplab.model import DeepLab

OPSET = 20
AGREEMENT = 1e-4  # the largest difference of logits between torch and onnxruntime
_INPUT, _OUTPUT = "images", "logits"


def export_onnx(model: DeepLab, path: str | Path, size: tuple[int, int]) -> float:
    """Write the network for any number of normalised float32 images [b, 3, *size] to logits [b, classes, *size].

    Class names, normalisation and size are in the file's metadata. The file is compared with the network in
    onnxruntime, on batches of one and three; returns the largest difference. The model stays as and where it is. Raises
    ExportError, and leaves no file, where that is above 1e-4 and where the packages for it are missing.
    """
    onnx, model, path = _onnx(), copy.deepcopy(model).cpu().eval(), Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        _write(model, temporary, size)
        stored = onnx.load(temporary)
        onnx.helper.set_model_props(stored, _metadata(model, size))
        onnx.save(stored, temporary)
        difference = _difference(model, OnnxModel.open(temporary), size)
        if difference > AGREEMENT:
            raise ExportError(
                f"the exported network's logits differ from torch's by {difference:.2g}; at most {AGREEMENT} is allowed"
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return difference


@dataclass(frozen=True)
class OnnxModel:
    """What export_onnx wrote, on the CPU."""

    session: object  # onnxruntime's
    class_names: tuple[str, ...]
    size: tuple[int, int]  # height and width of its images

    @classmethod
    def open(cls, path: str | Path) -> "OnnxModel":
        """Raises ExportError for a file that export_onnx did not write."""
        _onnx()
        from onnxruntime import InferenceSession  # here, since the package is optional
        from onnxruntime.capi.onnxruntime_pybind11_state import (
            Fail,
            InvalidArgument,
            InvalidGraph,
            InvalidProtobuf,
            NoSuchFile,
        )
        from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotSupported

        refused = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile, NotSupported)
        try:
            session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
            metadata = session.get_modelmeta().custom_metadata_map
            height, width = json.loads(metadata["size"])
            return cls(session, tuple(json.loads(metadata["classes"])), (height, width))
        except (*refused, KeyError, TypeError, ValueError) as error:
            raise ExportError(
                f"{path} is no network that `datasetddpm export-model` wrote; export one with --onnx"
            ) from error

    def logits(self, images: UInt8[np.ndarray, "b h w 3"]) -> np.ndarray:
        """Float32 [b, classes, h, w]."""
        normalised = normalise(torch.tensor(images)).numpy()
        return self.session.run([_OUTPUT], {_INPUT: normalised})[0]  # type: ignore[attr-defined]

    def predict(self, images: UInt8[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "b h w"]:
        """The likeliest class id of each pixel."""
        return self.logits(images).argmax(1).astype(np.uint8)


@torch.inference_mode()
def _write(model: DeepLab, path: Path, size: tuple[int, int]) -> None:
    torch.onnx.export(
        model,
        (torch.zeros(2, 3, *size),),
        path,
        input_names=[_INPUT],
        output_names=[_OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=OPSET,
        external_data=False,
        dynamo=True,
        verbose=False,
    )


def _metadata(model: DeepLab, size: tuple[int, int]) -> dict[str, str]:
    architecture = model.architecture
    names = list(architecture.class_names) or [f"class {i}" for i in range(architecture.classes)]
    return {
        "classes": json.dumps(names),
        "mean": json.dumps(IMAGENET_MEAN),
        "std": json.dumps(IMAGENET_STD),
        "size": json.dumps(size),
        "input": "float32 [batch, 3, height, width]: RGB / 255, minus mean, over std",
    }


def _difference(model: DeepLab, exported: OnnxModel, size: tuple[int, int]) -> float:
    rng, worst = np.random.default_rng(0), 0.0
    for count in (1, 3):
        images = rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)
        with torch.inference_mode():
            expected = model(normalise(torch.tensor(images))).numpy()
        worst = max(worst, float(np.abs(exported.logits(images) - expected).max()))
    return worst


def _onnx():
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise ExportError(f"{error.name} is not installed; `pip install 'datasetddpm[onnx]'` brings it") from error
    assert onnxruntime
    assert onnxscript
    return onnx
